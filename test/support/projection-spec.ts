/**
 * `given(events).when(projection).then(rows)`: what a projection makes of events, in real tables and through the code that writes them in the
 * hub. The events are applied three times over, in one batch, one by one, and in twos with every batch delivered twice; the rows must be the same
 * each time, and the projection's own verification must agree with them. docs/projections.md shows it.
 */
import { expect } from '@jest/globals';
import { createHash } from 'node:crypto';
import type { Envelope } from '../../src/log/envelope.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { openClient } from '../../src/database/database.js';
import { BatchWriter } from '../../src/projecting/batch-writer.js';
import { installBuild } from '../../src/projecting/builds.js';
import { CheckpointConflictError } from '../../src/projecting/errors.js';
import { Parkings } from '../../src/projecting/parkings.js';
import { takenBy, type DecodedEvent, type ProjectionDefinition } from '../../src/projecting/projection.js';
import { DifferenceReading } from '../../src/projecting/verification/differences.js';
import { Findings } from '../../src/projecting/verification/findings.js';
import type { TestDatabase } from './database.js';

/** An event of a test; what is left out is plain. */
export type GivenEvent = Partial<Pick<DecodedEvent, 'type' | 'mapped' | 'body' | 'held'>> & Partial<Envelope>;

const LOG_ID = '00000000-0000-4000-8000-000000000001';

/** Events at positions 1, 2, 3, …, a microsecond apart unless they say when they were recorded. */
export function decoded(events: readonly GivenEvent[]): DecodedEvent[] {
  return events.map(({ type, mapped, body, held, ...envelope }, index) => {
    const position = BigInt(index + 1);
    const hex = createHash('sha256').update(`event ${index}`).digest('hex');
    return {
      position,
      stream: 'clinical-0',
      revision: position - 1n,
      id: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
      type: type ?? EVENT_TYPES.hl7,
      body: body ?? { state: 'erased' },
      mapped: mapped ?? { facts: [], notes: [], unmapped: [] },
      ...(held === undefined ? {} : { held }),
      envelope: {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        recordedAt: `2026-03-01T10:15:00.${String(index + 1).padStart(6, '0')}Z`,
        validation: { state: 'valid' },
        decoder: 1,
        bodyHash: '',
        ...envelope,
      },
    };
  });
}

/** @param events in the order of their positions */
export function given(...events: readonly GivenEvent[]): {
  when: (definition: ProjectionDefinition) => {
    /** Rows by table, without the build's number in its name and in any order. */
    then: (database: TestDatabase, rows: Readonly<Record<string, readonly object[]>>) => Promise<void>;
  };
} {
  return {
    when: (definition) => ({
      then: async (database, rows) => {
        const all = decoded(events);
        for (const way of [all.length === 0 ? [] : [all], all.map((event) => [event]), twice(pairs(all))]) {
          const build = await apply(database, definition, way);
          for (const table of definition.tables(build)) {
            const name = table.replace(/_v\d+$/, '');
            const { rows: stored } = await database.pool.query<object>(`select * from ${table}`);
            expect({ [name]: stored.map(sortable).sort() }).toEqual({
              [name]: (rows[name] ?? []).map(sortable).sort(),
            });
          }
          expect(await verify(database, definition, build, all)).toEqual([]);
        }
      },
    }),
  };
}

const sortable = (row: object): string =>
  JSON.stringify(Object.entries(row).sort(), (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value));

function pairs(events: readonly DecodedEvent[]): DecodedEvent[][] {
  return events.flatMap((_, index) => (index % 2 === 0 ? [events.slice(index, index + 2)] : []));
}

const twice = <T>(items: readonly T[]): T[] => items.flatMap((item) => [item, item]);

/** Applies batches to a new build. A batch that was applied already is refused by the checkpoint, as in the hub. @returns the build */
export async function apply(
  database: TestDatabase,
  definition: ProjectionDefinition,
  batches: readonly (readonly DecodedEvent[])[],
): Promise<number> {
  const build = await installBuild(database.pool, definition, LOG_ID, { state: 'live', serving: false });
  if (build === undefined) throw new Error('no build was made');
  const client = await openClient(database.url);
  try {
    const writer = new BatchWriter(client, { definition, build, lane: 0, mode: 'test' });
    let done = 0n;
    for (const events of batches) {
      const target = events.at(-1)?.position ?? done;
      const expected = (events[0]?.position ?? 1n) - 1n;
      const writing = writer.write({ events, expected, target, rate: 0 }, new Parkings());
      if (target > done) await writing;
      else await expect(writing).rejects.toThrow(CheckpointConflictError);
      done = target;
    }
  } finally {
    await client.end();
  }
  return build;
}

/** Findings of the projection's own verification of a build. */
export async function verify(
  database: TestDatabase,
  definition: ProjectionDefinition,
  build: number,
  events: readonly DecodedEvent[],
): Promise<Findings['named']> {
  const client = await openClient(database.url);
  const findings = new Findings();
  try {
    await client.query('begin isolation level repeatable read');
    const upTo = events.at(-1)?.position ?? 0n;
    const explain = new DifferenceReading(definition, definition.version, definition.version);
    const run = definition.verify?.({ client, build, upTo, findings, explain });
    for (const page of pairs(events)) await run?.page(takenBy(definition, page), page.at(-1)?.position ?? 0n);
    await run?.finish();
  } finally {
    await client.query('rollback');
    await client.end();
  }
  return findings.named;
}
