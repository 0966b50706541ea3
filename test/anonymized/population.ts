/** Decoded events about invented people, a runner for the projection, and the analyst's own connection. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { createAnonymizedProjection } from '../../projections/anonymized/index.js';
import { CONDITION_GROUPS, ENCOUNTER_CLASSES } from '../../projections/anonymized/codes.js';
import { COLORS, ETHNICITIES, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { BANDS, CELL, codeIn, SINGLE_DIMENSIONS, valueIn, zip3Of } from '../../src/analytics/packing.js';
import type { CountedCells } from '../../src/analytics/snapshots.js';
import { ANALYST_ROLE } from '../../projections/anonymized/tables.js';
import { copyRows, type CopyType } from '../../src/database/binary-copy.js';
import { inTransaction } from '../../src/database/database.js';
import type { RecordLink } from '../../src/log/envelope.js';
import type { Fact, Json } from '../../src/mapping/fact.js';
import { NOTHING_MAPPED, type DecodedEvent } from '../../src/projecting/projection.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { addMicroseconds } from '../../src/time/clock.js';

export const hashes = new KeyedHashes(Buffer.alloc(32, 7));
export const anonymizedProjection = createAnonymizedProjection({ hashes });

/** A log of decoded events that grows. */
export class EventSeries {
  readonly events: DecodedEvent[] = [];
  recordedAt = '2026-11-20T10:00:00.000000Z';

  constructor(private readonly before = 0n) {}

  add(facts: readonly Fact[], links: readonly RecordLink[] = []): DecodedEvent {
    this.recordedAt = addMicroseconds(this.recordedAt, 1n);
    const event: DecodedEvent = {
      position: this.before + BigInt(this.events.length + 1),
      stream: 'clinical-0',
      revision: BigInt(this.events.length),
      id: randomUUID(),
      type: 'inbound.hl7v2',
      envelope: {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        recordedAt: this.recordedAt,
        links,
        validation: { state: 'valid' },
        decoder: 1,
        bodyHash: '',
      },
      body: { state: 'erased' },
      mapped: { ...NOTHING_MAPPED, facts },
    };
    this.events.push(event);
    return event;
  }

  /** A person of one record, seen for the first time. */
  person(fields: Record<string, Json>, validFrom = '2026-01-05T00:00:00.000000Z'): { record: string; patient: string } {
    const [record, patient] = [randomUUID(), randomUUID()];
    this.add([fact(record, fields, { validFrom })], [{ sourceRecordId: record, patientId: patient, reason: 'first' }]);
    return { record, patient };
  }
}

/** What a snapshot shows, and what its counts are made of. */
export interface SnapshotContent {
  readonly ids: readonly string[];
  /** A person each, in no order; without subjects. */
  readonly people: readonly {
    readonly favoriteColor: string | undefined;
    readonly band: string | undefined;
    readonly sex: string | undefined;
    readonly zip3: string | undefined;
    readonly race: string | undefined;
    readonly ethnicity: string | undefined;
    readonly classes: readonly string[];
    readonly conditions: readonly string[];
  }[];
}

export async function contentOf(pool: pg.Pool, snapshot: number, cells: CountedCells): Promise<SnapshotContent> {
  const { rows: shown } = await pool.query<{ subject: string }>(
    `select subject from anonymized.rows_${snapshot} order by subject`,
  );
  return { ids: shown.map(({ subject }) => subject), people: await peopleOf(pool, cells) };
}

/** Whom cells count, in no order. */
export async function peopleOf(pool: pg.Pool, cells: CountedCells): Promise<SnapshotContent['people']> {
  const { rows } = await pool.query<{
    cell: number;
    band: number;
    classes: number;
    conditions: number;
    people: number;
  }>(
    `select cell, ${SINGLE_DIMENSIONS['AGE_BAND']?.counted(cells.year)} as band, classes, conditions, sum(people)::int as people
       from ${cells.from} group by 1, 2, 3, 4 order by 1, 2, 3, 4`,
  );
  const bits = (list: readonly string[], value: number): string[] => list.filter((_, bit) => (value >> bit) & 1);
  return rows.flatMap(({ cell, band, classes, conditions, people }) =>
    Array.from({ length: people }, () => ({
      favoriteColor: valueIn(COLORS, codeIn(cell, CELL.color)),
      band: valueIn(BANDS, band),
      sex: valueIn(SEXES, codeIn(cell, CELL.sex)),
      zip3: zip3Of(codeIn(cell, CELL.zip3)),
      race: valueIn(RACES, codeIn(cell, CELL.race)),
      ethnicity: valueIn(ETHNICITIES, codeIn(cell, CELL.ethnicity)),
      classes: bits(ENCOUNTER_CLASSES, classes),
      conditions: bits(CONDITION_GROUPS, conditions),
    })),
  );
}

export function fact(
  record: string,
  fields: Record<string, Json>,
  more: Partial<Fact> & { validFrom?: string } = {},
): Fact {
  const { validFrom = '2026-01-05T00:00:00.000000Z', ...rest } = more;
  return {
    kind: 'PATIENT',
    sourceRecordId: record,
    key: '',
    valid: { instant: validFrom, text: validFrom, field: 'ts', flags: [] },
    assert: fields,
    ...rest,
  };
}

/** Installs a build that serves. */
export async function install(
  pool: pg.Pool,
  build: number,
  settledUntil = '2030-01-01T00:00:00.000000Z',
): Promise<void> {
  await inTransaction(pool, async (client) => {
    for (const statement of anonymizedProjection.install(build)) await client.query(statement);
    await client.query(`update hub.projection set serving = false where name = 'anonymized'`);
    await client.query(
      `insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, verify_wanted, switch_wanted)
       values ('anonymized', $1, 1, '', $2, 'live', true, false, false, false)`,
      [build, randomUUID()],
    );
    // Nothing of the past is on its way any more.
    await client.query(
      `insert into hub.checkpoint (projection, version, lane, position, recorded_at) values ('anonymized', $1, 0, 0, $2)`,
      [build, settledUntil],
    );
  });
}

/** Commits batches of the given size as the runtime does. */
export async function project(pool: pg.Pool, events: readonly DecodedEvent[], build: number, size = 50): Promise<void> {
  for (let at = 0; at < events.length; at += size) {
    const batch = events.slice(at, at + size);
    await inTransaction(pool, async (client) => {
      const loaded = await anonymizedProjection.load?.(batch, client, build);
      if (loaded === undefined) throw new Error('nothing loaded');
      for (const { table, columns, types, rows, onConflict } of anonymizedProjection.apply(
        batch,
        { mode: 'test', loaded },
        build,
      )) {
        if (onConflict === undefined) {
          await copyRows(client, table, columns, types as CopyType[], rows);
          continue;
        }
        for (const row of rows) {
          const values = row.map((_, index) => `$${index + 1}`).join(', ');
          const clause = (onConflict as { update: string }).update;
          await client.query(`insert into ${table} (${columns.join(', ')}) values (${values}) ${clause}`, [...row]);
        }
      }
    });
  }
}

const PASSWORD = 'of-the-test-server';

/** URL of a database as the analyst's role. All test files share one server, so all set the same password. */
export async function analystUrl(pool: pg.Pool, url: string): Promise<string> {
  await pool.query(`do $$ begin alter role ${ANALYST_ROLE} login noinherit password '${PASSWORD}';
    exception when others then if sqlerrm <> 'tuple concurrently updated' then raise; end if; end $$`);
  const analyst = new URL(url);
  analyst.username = ANALYST_ROLE;
  analyst.password = PASSWORD;
  return analyst.href;
}
