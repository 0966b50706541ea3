/** SPM → Specimen (v2-to-FHIR map SPM[Specimen]); of messages before v2.5 OBR-15 (map OBR[Specimen]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { validTime, type ParsedTime } from '../../time/parse.js';
import type { ValidTime } from '../../time/valid-time.js';
import { timeValue, type JsonObject } from '../fhir-time.js';
import { coding, codingSystem } from './datatypes.js';
import {
  byMap,
  code,
  compositeQuantity,
  concept,
  concepts,
  entityIdPairs,
  entityIds,
  identifiers,
  lines,
  person,
  time,
  v2Table,
} from './readers.js';
import { annotations } from './notes.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { SlotReader, Slots } from './slots.js';
import { COLLECTION_METHOD, SPECIMEN_STATUS } from './tables.js';

const note: SlotReader = (segment, field, reading, slots) => {
  const words = lines(segment, field, reading, slots);
  return words === undefined ? undefined : [{ text: words }];
};

const parents: SlotReader = (segment, field, reading, slots) => {
  const ids = entityIdPairs(segment, field, reading, slots) as JsonObject[] | undefined;
  return ids?.map((identifier) => ({ identifier }));
};

export const SPM: SegmentMap = {
  map: 'SPM[Specimen]',
  segment: 'SPM',
  kind: 'SPECIMEN',
  rules: [
    [2, 'identifier', entityIdPairs],
    [3, 'parent', parents],
    [4, 'type', concept(v2Table('0487')), 'SpecimenType'],
    [6, 'container[].additiveCodeableConcept', concept(v2Table('0371')), 'Additive/Preservative'],
    [7, 'collection.method', byMap(COLLECTION_METHOD, v2Table('0488')), 'SpecimenCollectionMethod'],
    [8, 'collection.bodySite', concept(v2Table('0163')), 'SpecimenSourceSite'],
    [12, 'collection.quantity', compositeQuantity],
    [14, 'note', note],
    [18, 'receivedTime', time],
    [20, 'status', code(SPECIMEN_STATUS), 'YesNoIndicator[AvailabilityStatus]'],
    [24, 'condition', concepts(v2Table('0493')), 'SpecimenCondition'],
    [27, 'container[].type', concept(), 'ContainerType'],
    [
      30,
      'accessionIdentifier',
      (segment, field, reading, slots) =>
        (identifiers('ACSN')(segment, field, reading, slots) as JsonObject[] | undefined)?.[0],
    ],
    [31, 'identifier:other', identifiers()],
    [32, 'identifier:shipment', entityIds('SHIP')],
  ],
  also: { 1: 'set id', 17: 'collection.collectedDateTime, collection.collectedPeriod, valid time' },
};

export const OBR_SPECIMEN: SegmentMap = {
  map: 'OBR[Specimen]',
  segment: 'OBR',
  kind: 'SPECIMEN',
  rules: [
    [9, 'collection.quantity', compositeQuantity],
    [10, 'collection.collector', person],
    [14, 'receivedTime', time],
    [
      39,
      'note:collector',
      (segment, field) => {
        const words = [];
        for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1)
          words.push(segment.text(field, repetition, 2) || segment.text(field, repetition, 1));
        return words.map((one) => ({ text: one }));
      },
    ],
  ],
  also: {
    7: 'collection.collectedDateTime',
    8: 'collection.collectedPeriod.end',
    15: 'type, collection.bodySite, collection.method',
  },
};

export interface SpecimenGroup {
  readonly sourceRecordId: string;
  readonly spm?: Hl7Segment;
  /** The NTE behind the SPM. */
  readonly notes?: readonly Hl7Segment[];
  readonly obr?: Hl7Segment;
  /** Key of the order, or of what stands for one. */
  readonly place: string;
  /** Who took it, by the PRT of the order. */
  readonly collector?: JsonObject;
  /** Counts the specimens of one order from 1. */
  readonly ordinal: number;
  readonly event: ValidTime;
}

/**
 * Keyed by SPM-2 (the filler's number, else the placer's), else by accession number, else by its place under its order. Valid since it was
 * taken (SPM-17, else OBR-7), else since the message.
 */
export function readSpecimen(group: SpecimenGroup, reading: Reading): void {
  const { spm, obr } = group;
  const slots = reading.slots();
  if (obr !== undefined) {
    reading.readAs(obr, OBR_SPECIMEN);
    slots.fields(obr, OBR_SPECIMEN.rules);
    if (spm === undefined) readSource(obr, slots);
  }
  // What SPM says of the specimen stands over what OBR says of it (withdrawn there since v2.5).
  if (spm !== undefined) {
    reading.read.add(spm);
    slots.fields(spm, SPM.rules);
    const note = annotations(group.notes ?? [], reading);
    if (note.length > 0) slots.assert['note:behind'] = note;
  }
  if (group.collector !== undefined) slots.assert['collection.collector'] ??= group.collector;
  const own = spm === undefined ? undefined : reading.time(spm, 17, 1, 1);
  const start = own ?? reading.time(obr, 7);
  const end = own === undefined ? reading.time(obr, 8) : reading.time(spm, 17, 1, 2);
  putCollected(slots, start, end);
  const valid = start === undefined ? group.event : validTime(start, own === undefined ? 'OBR-7' : 'SPM-17');
  reading.add({ kind: 'SPECIMEN', sourceRecordId: group.sourceRecordId, key: keyOf(group), valid }, slots);
}

function putCollected(slots: Slots, start: ParsedTime | undefined, end: ParsedTime | undefined): void {
  if (start === undefined) return;
  if (end === undefined || end.instant <= start.instant)
    slots.assert['collection.collectedDateTime'] = timeValue(start);
  else {
    slots.assert['collection.collectedPeriod.start'] = timeValue(start);
    slots.assert['collection.collectedPeriod.end'] = timeValue(end);
  }
}

function keyOf({ spm, place, ordinal }: SpecimenGroup): string {
  return (spm && specimenNumber(spm)) ?? `${place}|${ordinal}`;
}

/** The specimen's number: the filler's, else the placer's (SPM-2), else the accession number (SPM-30); undefined where it has none. */
export function specimenNumber(spm: Hl7Segment): string | undefined {
  for (const half of [2, 1]) {
    const number = spm.text(2, 1, half, 1);
    if (number !== '')
      return `${half === 2 ? 'filler' : 'placer'}|${spm.text(2, 1, half, 2) || spm.text(2, 1, half, 3)}|${number}`;
  }
  const accession = spm.text(30, 1, 1);
  return accession === '' ? undefined : `accession|${spm.text(30, 1, 4, 1)}|${accession}`;
}

/** OBR-15 (SPS): source, additives, collection method, body site. */
function readSource(obr: Hl7Segment, slots: Slots): void {
  const part = (component: number): JsonObject | undefined => {
    const one = coding(
      obr.text(15, 1, component, 1),
      obr.text(15, 1, component, 2),
      codingSystem(obr.text(15, 1, component, 3)) ?? (component === 1 ? v2Table('0070') : undefined),
    );
    return one && { coding: [one] };
  };
  const type = part(1);
  if (type !== undefined) slots.assert['type'] = type;
  const additive = part(2);
  if (additive !== undefined) slots.assert['container[].additiveCodeableConcept'] = additive;
  const words = obr.text(15, 1, 3);
  if (words !== '') slots.assert['collection.method'] = { text: words };
  const site = part(4);
  if (site !== undefined) slots.assert['collection.bodySite'] = site;
}
