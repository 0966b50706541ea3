/**
 * What one thing of a message says of another: references by number, else by words (v2-to-FHIR message maps, column References). The graph and FHIR name
 * things by ids of the hub's own, which a mapping cannot know; a number is what both sides have.
 */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { conceptDisplay } from '../concepts.js';
import type { JsonObject } from '../fhir-time.js';
import { codeableConcept, ei, identifier, reference } from './datatypes.js';
import { eip } from './readers.js';
import { TAKEN_BACK } from './tables.js';

function typed(type: string, one: JsonObject | undefined): JsonObject | undefined {
  return one && { type, ...one };
}

/** The number of the order: the placer's (ORC-2, OBR-2), else the filler's. */
export function orderReference(type: string, segment: Hl7Segment): JsonObject | undefined {
  return typed(type, reference('', ei(segment, 2, 1, 'PLAC') ?? ei(segment, 3, 1, 'FILL')));
}

/** OBX-21, with the words of OBX-3. */
export function observationReference(obx: Hl7Segment): JsonObject | undefined {
  return typed('Observation', reference(conceptDisplay(codeableConcept(obx, 3)), ei(obx, 21, 1, 'FILL')));
}

/** DG1-20, with the words of DG1-3 or DG1-4. */
export function conditionReference(dg1: Hl7Segment): JsonObject | undefined {
  return typed('Condition', reference(dg1.text(4) || conceptDisplay(codeableConcept(dg1, 3)), ei(dg1, 20)));
}

/** SPM-2 by the half that keys it, else the accession number (SPM-30), else the words of SPM-4. */
export function specimenReference(spm: Hl7Segment): JsonObject | undefined {
  const number = eip(spm, 2, 1, 2) ?? eip(spm, 2, 1, 1) ?? identifier(spm.text(30, 1, 1), { namespace: '' }, 'ACSN');
  return typed('Specimen', reference(number === undefined ? conceptDisplay(codeableConcept(spm, 4)) : '', number));
}

/** A question or a remark of the order (OBX-29 QST, SCI), not a result of it (message map ORU_R01, OBSERVATION.OBX). */
export function isOfOrder(obx: Hl7Segment): boolean {
  const type = obx.text(29).toUpperCase();
  return type === 'QST' || type === 'SCI';
}

/** What stands behind an OBR, up to the next order. */
export interface Examined {
  /** The results: OBX before any SPM that are not taken back. */
  readonly results: readonly JsonObject[];
  readonly specimens: readonly JsonObject[];
}

/**
 * `DiagnosticReport.result` and `.specimen` of the report that the OBR at this index is (message map ORU_R01).
 * @param under the specimen that the order stands under (OUL_R22)
 */
export function examinedBehind(
  segments: readonly Hl7Segment[],
  index: number,
  under: Hl7Segment | undefined,
): Examined {
  const results: JsonObject[] = [];
  const above = under && specimenReference(under);
  const specimens = above === undefined ? [] : [above];
  let specimen = false;
  for (let next = index + 1; next < segments.length; next += 1) {
    const segment = segments[next]!;
    if (segment.name === 'OBR' || segment.name === 'ORC') break;
    if (segment.name === 'SPM' && under !== undefined) break;
    if (segment.name === 'SPM') {
      specimen = true;
      const one = specimenReference(segment);
      if (one !== undefined) specimens.push(one);
    } else if (segment.name === 'OBX' && !specimen && !isOfOrder(segment)) {
      const one = TAKEN_BACK.has(segment.text(11).toUpperCase()) ? undefined : observationReference(segment);
      if (one !== undefined) results.push(one);
    }
  }
  return { results, specimens };
}
