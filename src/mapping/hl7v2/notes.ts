/** NTE: what somebody noted about the segment that it stands behind (v2-to-FHIR maps NTE[Observation], NTE[ServiceRequest]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { putDateTime, type JsonObject } from '../fhir-time.js';
import { codeableConcept, xcn } from './datatypes.js';
import { v2Table } from './readers.js';
import type { Reading } from './reading.js';

export const NTE_FIELDS: readonly number[] = [1, 2, 3, 4, 5, 6];

/** NTE-4, which Annotation has no element for. */
const ANNOTATION_TYPE_URL = 'http://hl7.org/fhir/StructureDefinition/annotationType';
/** A note on what R4 gives no `note` to: a person, a visit, a document. */
const NOTE_URL = 'http://hl7.org/fhir/StructureDefinition/note';

/** The NTE that follow a segment, over the PRT that may stand between (HL7 v2.9 §7.3.1). */
export function notesAfter(segments: readonly Hl7Segment[], index: number): Hl7Segment[] {
  const notes: Hl7Segment[] = [];
  for (let next = index + 1; next < segments.length; next += 1) {
    const segment = segments[next]!;
    if (segment.name === 'NTE') notes.push(segment);
    else if (segment.name !== 'PRT') break;
  }
  return notes;
}

/**
 * NTE → Annotation (map NTE[Observation]): lines that follow one another are one note; another type (NTE-4), author (NTE-5) or time (NTE-6) than
 * those of the note so far begins the next.
 */
export function annotations(notes: readonly Hl7Segment[], reading: Reading): JsonObject[] {
  const found: { readonly lines: string[]; readonly by: string; readonly first: Hl7Segment }[] = [];
  for (const note of notes) {
    reading.read.add(note);
    const by = `${note.rawField(4)}|${note.rawField(5)}|${note.rawField(6)}`;
    let current = found.at(-1);
    if (current === undefined || (by !== '||' && by !== current.by)) {
      current = { lines: [], by, first: note };
      found.push(current);
    }
    for (let repetition = 1; repetition <= note.repetitions(3); repetition += 1)
      current.lines.push(note.text(3, repetition));
  }
  return found.flatMap(({ lines, first }) => {
    const text = lines.join('\n');
    if (text.trim() === '') return [];
    const annotation: JsonObject = {};
    const type = codeableConcept(first, 4, 1, v2Table('0364'));
    if (type !== undefined) annotation['extension'] = [{ url: ANNOTATION_TYPE_URL, valueCodeableConcept: type }];
    const author = xcn(first, 5);
    if (author !== undefined) annotation['authorReference'] = author;
    putDateTime(annotation, 'time', reading.time(first, 6));
    annotation['text'] = text;
    return [annotation];
  });
}

/** The same as extensions, for what R4 gives no `note` to; undefined where there are none. */
export function noteExtensions(notes: readonly Hl7Segment[], reading: Reading): JsonObject[] | undefined {
  if (notes.length === 0) return undefined;
  const found = annotations(notes, reading).map((valueAnnotation) => ({ url: NOTE_URL, valueAnnotation }));
  return found.length === 0 ? undefined : found;
}

/** What may stand between a PID or PV1 and the notes on it (HL7 v2.9 §7.3.1, PATIENT and VISIT). */
const OF_THE_SAME: Readonly<Record<string, ReadonlySet<string>>> = {
  PID: new Set(['ARV', 'PD1', 'PRT', 'ROL']),
  PV1: new Set(['ARV', 'PRT', 'PV2', 'ROL']),
};

/** The NTE on the person (behind PID and PD1) or on the visit (behind PV1 and PV2). */
export function notesOn(name: 'PID' | 'PV1', segments: readonly Hl7Segment[]): Hl7Segment[] {
  const notes: Hl7Segment[] = [];
  const begin = segments.findIndex((segment) => segment.name === name);
  if (begin < 0) return notes;
  for (let next = begin + 1; next < segments.length; next += 1) {
    const segment = segments[next]!;
    if (segment.name === 'NTE') notes.push(segment);
    else if (!OF_THE_SAME[name]!.has(segment.name)) break;
  }
  return notes;
}
