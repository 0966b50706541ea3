/** TXA with the OBX that are its content → DocumentReference (v2-to-FHIR maps TXA[DocumentReference], OBX[DocumentReference]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { ei, list, xcn } from './datatypes.js';
import { annotations, noteExtensions } from './notes.js';
import { attachmentOf } from './obx-value.js';
import type { Reading } from './reading.js';
import { TXA } from './txa.js';

/** T05, T06 add to the document of TXA-13; T09, T10 replace it; T11 takes one back. */
const RELATION: Readonly<Record<string, string>> = { T05: 'appends', T06: 'appends', T09: 'replaces', T10: 'replaces' };

/** A text beyond this stays in the message alone; the fact points to it. */
const INLINE_TEXT_BYTES = 65_536;

export interface Document {
  readonly txa: Hl7Segment;
  /** The NTE behind the TXA. */
  readonly notes: readonly Hl7Segment[];
  readonly parts: readonly { readonly obx: Hl7Segment; readonly notes: readonly Hl7Segment[] }[];
}

/**
 * Keyed by TXA-12. Each element is a slot: an edit or a change of status (T03, T07) leaves what it does not speak of. True since the event;
 * one that replaces another says so of both, whichever comes first.
 * @param trigger of the MDM event; empty in a message of another type
 */
export function readDocument(
  { txa, notes, parts }: Document,
  sourceRecordId: string,
  trigger: string,
  event: ValidTime,
  encounter: JsonObject | undefined,
  reading: Reading,
): void {
  reading.read.add(txa);
  const number = txa.text(12, 1, 1);
  const own = documentKey(txa, 12);
  const key = own ?? `message|${reading.context.messageId}|${txa.index}`;
  if (number === '') reading.problem('TXA-12');
  const slots = reading.slots();
  slots.fields(txa, TXA.rules);
  slots.assert['status'] = statusOf(txa, trigger);
  if (slots.assert['author'] === undefined) {
    const authors = list(txa, 5, xcn);
    if (authors !== undefined) slots.assert['author'] = authors;
  }
  if (slots.assert['authenticator'] === undefined) {
    const authenticator = xcn(txa, 22);
    if (authenticator !== undefined) slots.assert['authenticator'] = authenticator;
  }
  const note = noteExtensions(notes, reading);
  if (note !== undefined) slots.assert['extension:note'] = note;
  const parent = ei(txa, 13);
  const relation = RELATION[trigger];
  if (parent !== undefined)
    slots.assert['relatesTo'] = [{ code: relation ?? 'appends', target: { identifier: parent } }];
  const orders = [ei(txa, 14, 1, 'PLAC'), ei(txa, 15, 1, 'FILL')].filter((one) => one !== undefined);
  if (orders.length > 0) slots.assert['context.related'] = orders.map((identifier) => ({ identifier }));
  if (encounter !== undefined) slots.assert['context.encounter'] = [encounter];
  const content = contentOf(parts, reading);
  if (content.length > 0) slots.assert['content'] = content;
  const transcribed = reading.time(txa, 7);
  if (transcribed !== undefined) slots.assert['content[].attachment.creation'] = timeValue(transcribed);
  reading.add({ kind: 'DOCUMENT_REFERENCE', sourceRecordId, key, valid: event }, slots);
  const replaced = relation === 'replaces' ? documentKey(txa, 13) : undefined;
  if (replaced !== undefined) {
    const superseded = reading.slots();
    superseded.assert['status'] = 'superseded';
    reading.add({ kind: 'DOCUMENT_REFERENCE', sourceRecordId, key: replaced, valid: event }, superseded);
  }
}

function documentKey(txa: Hl7Segment, field: number): string | undefined {
  const number = txa.text(field, 1, 1);
  return number === '' ? undefined : `${txa.text(field, 1, 2) || txa.text(field, 1, 3)}|${number}`;
}

/** T11 (cancel) and TXA-19 (HL7 table 0273): CA, OB and UN are documents that must not be used. */
function statusOf(txa: Hl7Segment, trigger: string): string {
  if (trigger === 'T11') return 'entered-in-error';
  const availability = txa.text(19).toUpperCase();
  if (availability === 'CA') return 'entered-in-error';
  return availability === 'OB' ? 'superseded' : 'current';
}

/** The document itself: its text (all text OBX together) and its files. A change of status sends none, and takes none away. */
function contentOf(parts: Document['parts'], reading: Reading): JsonObject[] {
  const content: JsonObject[] = [];
  const text: string[] = [];
  for (const { obx, notes } of parts) {
    reading.read.add(obx);
    annotations(notes, reading);
    const type = obx.text(2).toUpperCase();
    for (let repetition = 1; repetition <= obx.repetitions(5); repetition += 1) {
      if (type === 'ED' || type === 'RP') {
        const attachment = attachmentOf(obx, repetition, type, reading);
        if (attachment !== undefined) content.push({ attachment: attachment });
      } else text.push(obx.text(5, repetition, type === 'CE' || type === 'CWE' ? 2 : 1));
    }
  }
  const words = Buffer.from(text.join('\n'));
  if (words.length > INLINE_TEXT_BYTES)
    content.unshift({
      attachment: {
        contentType: 'text/plain',
        url: `urn:uuid:${reading.context.messageId}#OBX-5`,
        size: words.length,
      },
    });
  else if (words.length > 0)
    content.unshift({ attachment: { contentType: 'text/plain', data: words.toString('base64') } });
  return content;
}
