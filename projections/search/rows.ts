/** What events bring to search: one entry for each distinct text of a thing, named by what it says, so that the same text is the same entry. */
import { hash } from 'node:crypto';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import type { Position } from '../../src/log/event-log.js';
import { EventRejected, type DecodedEvent } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { documentOf, type SearchDocument } from './document.js';

export interface SearchRow {
  readonly eventId: string;
  readonly record: string;
  /** Index in FACT_KINDS. */
  readonly kind: number;
  readonly entity: bigint;
  /** 64 bits over the document. */
  readonly textHash: bigint;
  /** Where it was first said. */
  readonly position: Position;
  readonly document: SearchDocument;
}

/** @param hashes gives the ids of things, the same as in the master store */
export function searchRows(events: readonly DecodedEvent[], hashes: Pick<KeyedHashes, 'thing'>): SearchRow[] {
  const rows: SearchRow[] = [];
  const known = new Set<string>();
  for (const event of events) {
    for (const fact of event.mapped.facts) {
      if (fact.assert === undefined) continue;
      const document = documentIn(event.id, () => documentOf(fact.kind, fact.assert ?? {}));
      if (document === undefined) continue;
      const entity = hashes.thing(fact.sourceRecordId, fact.kind, fact.key);
      const textHash = hashOf(document);
      const key = `${fact.sourceRecordId}|${fact.kind}|${entity}|${textHash}`;
      if (known.has(key)) continue;
      known.add(key);
      rows.push({
        eventId: event.id,
        record: fact.sourceRecordId,
        kind: FACT_KINDS.indexOf(fact.kind),
        entity,
        textHash,
        position: event.position,
        document,
      });
    }
  }
  return rows;
}

function documentIn(eventId: string, make: () => SearchDocument | undefined): SearchDocument | undefined {
  try {
    return make();
  } catch {
    // Of an odd resource only its message is left out, and shows in the dead letters.
    throw new EventRejected(eventId, 'NOT_SEARCHABLE');
  }
}

/** Over what is stored; the keys follow from the words. */
function hashOf({ words, keys, terms, amount, day }: SearchDocument): bigint {
  const text = JSON.stringify([words, keys.length, terms, amount ?? null, day ?? null]);
  return hash('sha256', text, 'buffer').readBigInt64BE(0);
}
