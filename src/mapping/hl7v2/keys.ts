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

/** Field of an order number, the same in ORC and OBR. */
const ORDER_NUMBERS = { placer: 2, filler: 3 } as const;

/** The first order number of the roles, and of one role of the segments, in the order given, with its namespace. */
export function orderNumber(
  roles: readonly (keyof typeof ORDER_NUMBERS)[],
  segments: readonly (Hl7Segment | undefined)[],
): string | undefined {
  for (const role of roles) {
    const field = ORDER_NUMBERS[role];
    for (const segment of segments) {
      const number = segment?.text(field, 1, 1) ?? '';
      if (segment !== undefined && number !== '')
        return `${role}|${segment.text(field, 1, 2) || segment.text(field, 1, 3)}|${number}`;
    }
  }
  return undefined;
}

/** Key of an order: filler order number (OBR-3, ORC-3), else placer order number (OBR-2, ORC-2), with its namespace. */
export function orderKey(obr: Hl7Segment | undefined, orc: Hl7Segment | undefined): string | undefined {
  return orderNumber(['filler', 'placer'], [obr, orc]);
}
