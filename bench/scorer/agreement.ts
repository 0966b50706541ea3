/** What at least two of the peers say: the converter whose output it is, and the guide, whose map leads from a field that holds it to that element. */
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import type { Fact } from './flatten.js';
import type { GuideRow } from './peers.js';

export type Agreed = (type: string, fact: Fact) => boolean;

/** Whether the guide's maps write such a fact from this message. */
export function agreementFor(guide: ReadonlyMap<string, readonly GuideRow[]>, message: Buffer): Agreed {
  const valued = new Map<string, string>();
  for (const segment of readHl7(message).segments) {
    for (let field = 1; field <= segment.fieldCount; field += 1) {
      const sent = segment.rawField(field);
      const place = `${segment.name}-${field}`;
      if (sent !== '' && sent !== '""') valued.set(place, `${valued.get(place) ?? ''} ${sent.toLowerCase()}`);
    }
  }
  return (type, fact) =>
    (guide.get(type) ?? []).some((row) => {
      const held = valued.get(`${row.segment}-${row.field}`);
      return held !== undefined && leadsTo(row.path, fact.path) && holds(row, held, fact);
    });
}

/** An extension is mapped only where the guide maps that extension. */
function leadsTo(target: string, path: string): boolean {
  if (path !== target && !path.startsWith(`${target}.`) && !path.startsWith(`${target}→`)) return false;
  return !path.slice(target.length).includes('extension(');
}

const TIME = /^\d{4}-\d{2}(-\d{2})?(T|$)/;

function holds({ mapped, constant }: GuideRow, held: string, { path, value }: Fact): boolean {
  const wanted = value.toLowerCase();
  if (constant !== undefined) return constant.toLowerCase() === wanted;
  if (mapped || path.endsWith('.system') || path.endsWith('.authority')) return true;
  if (TIME.test(value)) return held.includes(value.slice(0, 4));
  if (held.includes(wanted)) return true;
  return wanted.split(' ').every((word) => held.includes(word));
}
