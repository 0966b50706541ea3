/** FT1 → ChargeItem (the guide has no map for it): what was charged, for what, to which account. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { putDateTime, putDateTimeOrPeriod, type JsonObject } from '../fhir-time.js';
import { accountReference } from './account.js';
import { codeableConcept, coding, number, organizationOf, xcn } from './datatypes.js';
import type { PersonGroup } from './groups.js';
import { conceptKey } from './keys.js';
import { concepts, doers, money, plainId, v2Table } from './readers.js';
import { annotations, notesAfter } from './notes.js';
import type { Reading } from './reading.js';
import { readPerformers, rolesBehind } from './rol.js';
import type { SegmentMap } from './segment-map.js';

const PERFORMED: JsonObject = {
  system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType',
  code: 'PRF',
  display: 'performer',
};
const ORDERED: JsonObject = { system: v2Table('0443'), code: 'OP', display: 'Ordering Provider' };

export const FT1: SegmentMap = {
  map: 'FT1[ChargeItem] (no map in the guide)',
  segment: 'FT1',
  kind: 'CHARGE_ITEM',
  rules: [
    [2, 'identifier', plainId('TID')],
    [
      10,
      'quantity',
      (segment, field) => {
        const value = number(segment.text(field));
        return value === undefined ? undefined : { value };
      },
    ],
    [11, 'priceOverride', money],
    [13, 'costCenter', organizationOf],
    [19, 'reason', concepts()],
    [20, 'performer', doers(PERFORMED)],
    [21, 'performer:ordered', doers(ORDERED)],
    [24, 'enterer', (segment, field) => xcn(segment, field)],
    [29, 'productCodeableConcept', (segment, field) => codeableConcept(segment, field)],
    [40, 'performingOrganization', organizationOf],
  ],
  also: {
    1: 'set id',
    4: 'occurrenceDateTime, occurrencePeriod, valid time',
    5: 'enteredDate',
    6: 'status, extension (HL70017)',
    7: 'code',
    8: 'code.text',
    12: 'priceOverride, where FT1-11 is empty',
    25: 'code, as a further coding',
  },
};

/** HL7 table 0017: charges, credits, payments; what kind of transaction it is, which ChargeItem itself does not say. */
const TRANSACTION_URL = 'urn:anamnesis:charge-transaction';

interface ChargeGroup {
  readonly ft1: Hl7Segment;
  readonly notes: readonly Hl7Segment[];
  readonly roles: readonly Hl7Segment[];
  readonly sourceRecordId: string;
  readonly event: ValidTime;
  readonly encounter?: JsonObject;
  readonly account?: JsonObject;
}

/** Every FT1 of a message about a person: a DFT, or an order that says what it costs (ORM_O01, ORDER.FT1). */
export function readCharges(
  { pid, segments }: PersonGroup,
  sourceRecordId: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  const account = accountReference(pid, reading.context.defaultAuthority);
  segments.forEach((ft1, index) => {
    if (ft1.name !== 'FT1') return;
    const behind = { notes: notesAfter(segments, index), roles: rolesBehind(segments, index) };
    const about = { sourceRecordId, event, ...(encounter && { encounter }), ...(account && { account }) };
    readFt1({ ft1, ...behind, ...about }, reading);
  });
}

/** Keyed by FT1-2, else by code, time and place in the message; valid since FT1-4, else since the event. */
function readFt1(
  { ft1, notes, roles, sourceRecordId, event, encounter, account }: ChargeGroup,
  reading: Reading,
): void {
  reading.read.add(ft1);
  const id = ft1.text(2);
  const named = conceptKey(ft1, 7) ?? conceptKey(ft1, 25) ?? '';
  const occurred = reading.time(ft1, 4, 1, 1);
  const slots = reading.slots();
  slots.assert['status'] = 'billable';
  const type = ft1.text(6, 1, 1).toUpperCase();
  if (type !== '')
    slots.assert['extension:transaction'] = [
      { url: TRANSACTION_URL, valueCoding: coding(type, ft1.text(6, 1, 2), v2Table('0017'))! },
    ];
  const code = codeOf(ft1);
  if (code !== undefined) slots.assert['code'] = code;
  slots.fields(ft1, FT1.rules);
  if (ft1.rawField(11) === '' && ft1.rawField(12) !== '') {
    const unit = money(ft1, 12, reading, slots);
    if (unit !== undefined) slots.assert['priceOverride'] = unit;
  }
  const times: JsonObject = {};
  putDateTimeOrPeriod(times, 'occurrence', occurred, reading.time(ft1, 4, 1, 2));
  putDateTime(times, 'enteredDate', reading.time(ft1, 5));
  Object.assign(slots.assert, times);
  readPerformers(roles, slots, reading);
  const note = annotations(notes, reading);
  if (note.length > 0) slots.assert['note'] = note;
  if (encounter !== undefined) slots.assert['context'] = encounter;
  if (account !== undefined) slots.assert['account'] = [account];
  reading.add(
    {
      kind: 'CHARGE_ITEM',
      sourceRecordId,
      key: id === '' ? `${named}|${occurred?.instant ?? ''}|${reading.context.messageId}|${ft1.index}` : `id|${id}`,
      valid: occurred === undefined ? event : validTime(occurred, 'FT1-4'),
    },
    slots,
  );
}

/** FT1-7 (transaction code) with FT1-25 (procedure code) beside it, and the words of FT1-8. */
function codeOf(ft1: Hl7Segment): JsonObject | undefined {
  const charged = codeableConcept(ft1, 7, 1, v2Table('0132'));
  const performed = codeableConcept(ft1, 25);
  const codings = [charged, performed].flatMap((one) => (one?.['coding'] as JsonObject[] | undefined) ?? []);
  const distinct = codings.filter(
    (one, index) =>
      codings.findIndex((other) => other['code'] === one['code'] && other['system'] === one['system']) === index,
  );
  const words = ft1.text(8) || ((charged?.['text'] ?? performed?.['text']) as string | undefined);
  if (distinct.length === 0 && words === undefined) return undefined;
  return { ...(distinct.length > 0 && { coding: distinct }), ...(words && { text: words }) };
}
