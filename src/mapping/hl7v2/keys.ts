/** Natural keys of things that have no identifier of their own. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';

/**
 * Key of a coded field: code and coding system, else the alternate code, else the text.
 * Undefined where the field holds none of them.
 */
export function conceptKey(segment: Hl7Segment, field: number): string | undefined {
  const code = segment.text(field, 1, 1);
  if (code !== '') return `${code}^${segment.text(field, 1, 3)}`;
  const alternate = segment.text(field, 1, 4);
  if (alternate !== '') return `${alternate}^${segment.text(field, 1, 6)}`;
  const text = segment.text(field, 1, 2) || segment.text(field, 1, 9) || segment.text(field, 1, 5);
  return text === '' ? undefined : `^^${text}`;
}

/** Key of an order: filler order number (OBR-3, ORC-3), else placer order number (OBR-2, ORC-2), with its namespace. */
export function orderKey(obr: Hl7Segment | undefined, orc: Hl7Segment | undefined): string | undefined {
  for (const [field, role] of [
    [3, 'filler'],
    [2, 'placer'],
  ] as const) {
    for (const segment of [obr, orc]) {
      const number = segment?.text(field, 1, 1) ?? '';
      if (segment !== undefined && number !== '')
        return `${role}|${segment.text(field, 1, 2) || segment.text(field, 1, 3)}|${number}`;
    }
  }
  return undefined;
}
