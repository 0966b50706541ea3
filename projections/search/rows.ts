/** What events bring to search: one entry for each distinct text of a thing, named by what it says, so that the same text is the same entry. */
import { hash } from 'node:crypto';
import { FACT_KINDS, type FactKind, type Json } from '../../src/mapping/fact.js';
import type { Position } from '../../src/log/event-log.js';
import { EventRejected, type DecodedEvent } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { Remembered } from '../../src/text/remembered.js';
import { documentOf, type SearchDocument } from './document.js';
import { beginningsOf, comparedWords, lexemesOf } from './tables.js';

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
  /** The document as PostgreSQL keeps it. */
  readonly lexemes: readonly string[];
  readonly compared: string | null;
  readonly beginnings: readonly string[];
}

/** A document, the hash that names it, and how it is written. */
type Written = Pick<SearchRow, 'document' | 'textHash' | 'lexemes' | 'compared' | 'beginnings'>;

/** Persons and visits say the same in message after message, results hardly ever: of those the documents made last are kept. Some kilobytes each. */
const KEPT_DOCUMENTS = 4_096;
const KEPT_MOST_CHARACTERS = 4_096;
const REPEATED: readonly FactKind[] = ['PATIENT', 'ENCOUNTER'];
const written = new Map([...REPEATED].map((kind) => [kind, new Remembered<Written | null>(KEPT_DOCUMENTS)]));

/** @param hashes gives the ids of things, the same as in the master store */
export function searchRows(events: readonly DecodedEvent[], hashes: Pick<KeyedHashes, 'thing'>): SearchRow[] {
  const rows: SearchRow[] = [];
  /** Texts that a thing has in this batch already. */
  const known = new Map<bigint, Set<bigint>>();
  for (const event of events) {
    for (const { kind, assert, sourceRecordId: record, key } of event.mapped.facts) {
      if (assert === undefined) continue;
      const found = writtenIn(event.id, kind, assert);
      if (found === null) continue;
      const { document, textHash, lexemes, compared, beginnings } = found;
      const entity = hashes.thing(record, kind, key);
      const texts = known.get(entity);
      if (texts === undefined) known.set(entity, new Set([textHash]));
      else if (texts.has(textHash)) continue;
      else texts.add(textHash);
      rows.push({
        eventId: event.id,
        record,
        kind: FACT_KINDS.indexOf(kind),
        entity,
        textHash,
        position: event.position,
        document,
        lexemes,
        compared,
        beginnings,
      });
    }
  }
  return rows;
}

function writtenIn(eventId: string, kind: FactKind, asserted: Readonly<Record<string, Json>>): Written | null {
  try {
    const kept = written.get(kind);
    if (kept === undefined) return write(kind, asserted);
    const said = JSON.stringify(asserted);
    return said.length > KEPT_MOST_CHARACTERS ? write(kind, asserted) : kept.get(said, () => write(kind, asserted));
  } catch {
    // Of an odd resource only its message is left out, and shows in the dead letters.
    throw new EventRejected(eventId, 'NOT_SEARCHABLE');
  }
}

function write(kind: FactKind, asserted: Readonly<Record<string, Json>>): Written | null {
  const document = documentOf(kind, asserted);
  if (document === undefined) return null;
  return {
    document,
    textHash: hashOf(document),
    lexemes: lexemesOf(document),
    compared: comparedWords(document),
    beginnings: beginningsOf(document),
  };
}

/** Over what is stored; words of names stand before all others. */
function hashOf({ words, names, terms, amount, day }: SearchDocument): bigint {
  const text = JSON.stringify([words, names.length, terms, amount ?? null, day ?? null]);
  return hash('sha256', text, 'buffer').readBigInt64BE(0);
}
