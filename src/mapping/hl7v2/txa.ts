/** TXA with its OBX → DocumentReference (v2-to-FHIR maps TXA[DocumentReference], OBX[DocumentReference]). */
import { code, concepts, entityIds, person, people, text, time, v2Table } from './readers.js';
import type { SegmentMap } from './segment-map.js';
import { DOCUMENT_STATUS } from './tables.js';

export const TXA: SegmentMap = {
  map: 'TXA[DocumentReference]',
  segment: 'TXA',
  kind: 'DOCUMENT_REFERENCE',
  rules: [
    [
      2,
      'type',
      (segment, field, reading, slots) =>
        (concepts(v2Table('0270'))(segment, field, reading, slots) as never[] | undefined)?.[0],
    ],
    [4, 'context.period.start', time],
    [6, 'date', time],
    [9, 'author', people],
    [10, 'authenticator', person],
    [
      12,
      'masterIdentifier',
      (segment, field, reading, slots) => (entityIds()(segment, field, reading, slots) as never[] | undefined)?.[0],
    ],
    [
      16,
      'identifier:file',
      (segment, field) => (segment.text(field) === '' ? undefined : [{ value: segment.text(field) }]),
    ],
    [17, 'docStatus', code(DOCUMENT_STATUS), 'HL70271'],
    [18, 'securityLabel', concepts(v2Table('0272')), 'DocumentConfidentialityStatus'],
    [25, 'description', text],
  ],
  also: {
    1: 'set id',
    3: 'what the OBX say themselves',
    5: 'author, where TXA-9 is empty',
    7: 'content[].attachment.creation',
    13: 'relatesTo',
    14: 'context.related (placer order)',
    15: 'context.related (filler order)',
    19: 'status',
    22: 'authenticator, where TXA-10 is empty',
  },
};
