/** Places of a visit: an entry of Encounter.location whose parts stand in its identifier, as HL7's PL has them. */
import { isObject, textOf } from './concepts.js';
import type { Json } from './fact.js';

export interface LocationParts {
  readonly pointOfCare?: string;
  readonly room?: string;
  readonly bed?: string;
  readonly facility?: string;
}

/** Point of care, room, bed and facility of an entry; empty where it names a place by display or reference only. */
export function locationParts(entry: Json | undefined): LocationParts {
  const location = isObject(entry) ? entry['location'] : undefined;
  const sent = isObject(location) ? textOf(location['identifier'], 'value') : '';
  if (sent === '') return {};
  const [pointOfCare = '', room = '', bed = '', facility = ''] = sent.split('^');
  return {
    ...(pointOfCare !== '' && { pointOfCare }),
    ...(room !== '' && { room }),
    ...(bed !== '' && { bed }),
    ...(facility !== '' && { facility }),
  };
}

/** A place in words: `4E 12 1`. */
export function locationDisplay(entry: Json | undefined): string {
  const location = isObject(entry) ? entry['location'] : undefined;
  const display = textOf(location, 'display');
  if (display !== '') return display;
  const { pointOfCare = '', room = '', bed = '' } = locationParts(entry);
  const words = [pointOfCare, room, bed].filter((part) => part !== '').join(' ');
  return words !== '' ? words : textOf(location, 'reference');
}
