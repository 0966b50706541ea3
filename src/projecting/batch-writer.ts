/** Writes one batch of one projection build: rows, parkings and checkpoint in one transaction, in a handful of round trips. */
import type pg from 'pg';
import { copyRows, type CopyType } from '../database/binary-copy.js';
import type { Position } from '../log/event-log.js';
import { CheckpointConflictError, NewPoisonError, SystematicFailureError, errorWord, failureKind } from './errors.js';
import { MappingError } from '../mapping/fact.js';
import { EVERY_PROJECTION, hold, type Parking, type Parkings, type WaitingRow } from './parkings.js';
import {
  EventRejected,
  type Build,
  type DecodedEvent,
  type ProjectionDefinition,
  type ProjectionMode,
  type TableRows,
} from './projection.js';

/** Channel of the notice that a checkpoint moved; payload `<projection> <build> <position>`. */
export const PROJECTED_CHANNEL = 'hub_projected';

/** From this size on, a batch of which every single event fails is a fault of the code, not of the records. */
const SYSTEMATIC_FROM_EVENTS = 8;

export interface Lane {
  readonly definition: ProjectionDefinition;
  readonly build: Build;
  readonly lane: number;
  readonly mode: ProjectionMode;
}

export interface BatchResult {
  /** Found in this batch and stored with it; not yet known to the log. */
  readonly parked: readonly Parking[];
  readonly rows: number;
}

export interface Batch {
  readonly events: readonly DecodedEvent[];
  /** Checkpoint before and after. */
  readonly expected: Position;
  readonly target: Position;
  /** Events per second, to show. */
  readonly rate: number;
}

/** Belongs to one connection: it remembers which staging tables that session has. */
export class BatchWriter {
  private readonly staged = new Set<string>();
  /** Staging tables with rows of the open transaction. */
  private readonly filled = new Set<string>();

  constructor(
    private readonly client: pg.Client,
    private readonly lane: Lane,
  ) {}

  /**
   * Applies and commits the batch. Events that cannot be applied are found by bisecting; live they are parked with the batch, a rebuild
   * throws NewPoisonError.
   * @throws CheckpointConflictError when the checkpoint is not at `expected`; whatever the connection throws
   */
  async write(batch: Batch, parkings: Parkings): Promise<BatchResult> {
    const found = this.rejections(batch.events, parkings);
    const omitted = new Set<string>();
    for (;;) {
      this.refuseInRebuild(found);
      try {
        return await this.attempt(batch, parkings.with(found), found, omitted);
      } catch (error) {
        await this.rollBack();
        if (failureKind(error) !== 'data') throw error;
        const before = found.length + omitted.size;
        try {
          await this.findPoison(batch, parkings, found, omitted);
        } finally {
          await this.rollBack();
        }
        if (found.length + omitted.size === before) {
          throw new SystematicFailureError(this.lane.definition.name, batch.expected, errorWord(error));
        }
      }
    }
  }

  /** Messages that no mapping takes and that are not parked yet. */
  private rejections(events: readonly DecodedEvent[], parkings: Parkings): Parking[] {
    const found: Parking[] = [];
    for (const event of events) {
      if (event.rejected === undefined || parkings.isParked(event.id, this.lane.definition.name)) continue;
      found.push(parkingOf(event, EVERY_PROJECTION, event.rejected));
    }
    return found;
  }

  private refuseInRebuild(found: readonly Parking[]): void {
    const [first] = found;
    if (first === undefined || this.lane.mode === 'live') return;
    throw new NewPoisonError(this.lane.definition.name, first.position, first.messageId, first.code);
  }

  private async attempt(
    batch: Batch,
    parkings: Parkings,
    found: readonly Parking[],
    omitted: ReadonlySet<string>,
  ): Promise<BatchResult> {
    const { definition, build } = this.lane;
    const view = this.view(batch.events, parkings, omitted);
    await this.begin(batch);
    const { rows, statements } = await this.apply(view.events);
    if (found.length > 0) await this.storeParkings(found);
    if (view.waiting.length > 0) await this.storeWaiting(view.waiting);
    const notice = `select pg_notify('${PROJECTED_CHANNEL}', '${definition.name} ${build} ${batch.target}')`;
    await this.client.query([...statements, notice, 'commit'].join(';\n'));
    return { parked: found, rows };
  }

  private view(
    events: readonly DecodedEvent[],
    parkings: Parkings,
    omitted: ReadonlySet<string>,
  ): ReturnType<typeof hold> {
    const view = hold(events, parkings, this.lane.definition.name);
    if (omitted.size === 0) return view;
    return { ...view, events: view.events.filter((event) => !omitted.has(event.id)) };
  }

  /**
   * Finds the events that fail, left to right in one transaction that is rolled back in the end: a later half runs on top of the earlier one
   * and with its parkings, as it will in the real batch. `found` and `omitted` grow; omitted are events that fail without their facts too.
   */
  private async findPoison(batch: Batch, parkings: Parkings, found: Parking[], omitted: Set<string>): Promise<void> {
    await this.begin(batch);
    const tried = new Set<string>();
    await this.probe(batch.events, parkings, found, omitted, tried);
    if (batch.events.length >= SYSTEMATIC_FROM_EVENTS && tried.size === batch.events.length) {
      throw new SystematicFailureError(
        this.lane.definition.name,
        batch.expected,
        found.at(-1)?.code ?? 'every event fails',
      );
    }
  }

  private async probe(
    events: readonly DecodedEvent[],
    parkings: Parkings,
    found: Parking[],
    omitted: Set<string>,
    failed: Set<string>,
  ): Promise<void> {
    const failure = await this.tryUnderSavepoint(events, parkings.with(found), omitted);
    if (failure === undefined) return;
    const named = failure instanceof EventRejected ? events.find((event) => event.id === failure.eventId) : undefined;
    const culprit = named ?? (events.length === 1 ? events[0] : undefined);
    if (culprit === undefined) {
      const middle = Math.ceil(events.length / 2);
      await this.probe(events.slice(0, middle), parkings, found, omitted, failed);
      await this.probe(events.slice(middle), parkings, found, omitted, failed);
      return;
    }
    failed.add(culprit.id);
    const { name } = this.lane.definition;
    if (parkings.with(found).isParked(culprit.id, name)) {
      if (omitted.has(culprit.id)) return;
      omitted.add(culprit.id);
    } else {
      found.push(
        parkingOf(
          culprit,
          name,
          failure instanceof EventRejected
            ? failure
            : failure instanceof MappingError
              ? failure
              : { code: errorWord(failure) },
        ),
      );
    }
    await this.probe(events, parkings, found, omitted, failed);
  }

  /** The error of applying these events on top of what the transaction holds, or undefined: then they stay in. */
  private async tryUnderSavepoint(
    events: readonly DecodedEvent[],
    parkings: Parkings,
    omitted: ReadonlySet<string>,
  ): Promise<unknown> {
    await this.client.query('savepoint probe');
    try {
      const { statements } = await this.apply(this.view(events, parkings, omitted).events);
      await this.client.query([...statements, 'release savepoint probe'].join(';\n'));
      return undefined;
    } catch (error) {
      if (failureKind(error) !== 'data') throw error;
      this.staged.clear();
      await this.client.query('rollback to savepoint probe; release savepoint probe');
      return error;
    }
  }

  private async rollBack(): Promise<void> {
    this.staged.clear();
    this.filled.clear();
    // On a dead connection there is nothing to roll back; its next use says so.
    await this.client.query('rollback').catch(() => undefined);
  }

  private async storeParkings(found: readonly Parking[]): Promise<void> {
    await this.client.query(
      `insert into hub.dead_letter (message_id, scope, position, source_record_id, code, path, byte_offset, attempt, status)
       select message_id, scope, position, source_record_id, code, path, byte_offset, attempt, 'PARKED'
       from jsonb_to_recordset($1::jsonb) as p(message_id uuid, scope text, position bigint, source_record_id uuid, code text,
         path text, byte_offset bigint, attempt int)
       on conflict do nothing`,
      [
        JSON.stringify(
          found.map((parking) => ({
            message_id: parking.messageId,
            scope: parking.scope,
            position: parking.position.toString(),
            source_record_id: parking.sourceRecordId ?? null,
            code: parking.code,
            path: parking.path ?? null,
            byte_offset: parking.byteOffset ?? null,
            attempt: parking.attempt,
          })),
        ),
      ],
    );
  }

  private async storeWaiting(waiting: readonly WaitingRow[]): Promise<void> {
    await this.client.query(
      `insert into hub.waiting (projection, message_id, source_record_id, position)
       select $1, * from unnest($2::uuid[], $3::uuid[], $4::bigint[]) on conflict do nothing`,
      [
        this.lane.definition.name,
        waiting.map((row) => row.messageId),
        waiting.map((row) => row.sourceRecordId),
        waiting.map((row) => row.position.toString()),
      ],
    );
  }

  /**
   * The compare-and-set comes first: it locks the row, so that a second worker waits here and then finds the position moved, before it has
   * written anything.
   */
  private async begin(batch: Batch): Promise<void> {
    this.filled.clear();
    const { definition, build, lane } = this.lane;
    const last = batch.events.at(-1);
    const results = (await this.client.query(
      `begin;
       update hub.checkpoint set position = ${batch.target}, events = events + ${batch.events.length},
         recorded_at = ${last === undefined ? 'recorded_at' : literal(last.envelope.recordedAt)}, rate = ${batch.rate.toFixed(1)},
         updated_at = clock_timestamp()
       where projection = ${literal(definition.name)} and version = ${build} and lane = ${lane} and position = ${batch.expected}`,
    )) as unknown as pg.QueryResult[];
    if (results[1]?.rowCount !== 1) {
      await this.client.query('rollback');
      const { rows } = await this.client.query<{ position: bigint }>(
        'select position from hub.checkpoint where projection = $1 and version = $2 and lane = $3',
        [definition.name, build, lane],
      );
      throw new CheckpointConflictError(definition.name, build, lane, batch.expected, rows[0]?.position);
    }
  }

  /** Rows of the events, in the open transaction. What needs no answer is returned, to travel with the commit. */
  private async apply(events: readonly DecodedEvent[]): Promise<{ rows: number; statements: string[] }> {
    const { definition, build, mode } = this.lane;
    const loaded: unknown = await definition.load?.(events, this.client as unknown as pg.PoolClient, build);
    const tables = definition.apply(events, { mode, loaded }, build);
    const statements: string[] = [];
    let rows = 0;
    for (const table of tables) {
      if (table.rows.length === 0) continue;
      rows += table.rows.length;
      if (table.onConflict === undefined || table.onConflict === 'insert') {
        await copyRows(this.client, table.table, table.columns, table.types as CopyType[], table.rows);
      } else {
        await this.stage(table, statements);
      }
    }
    for (const statement of definition.after?.(events, build) ?? []) {
      if (statement.values === undefined || statement.values.length === 0) {
        statements.push(statement.text);
        continue;
      }
      // Bound values need a statement of their own, and what was staged before it must be in.
      if (statements.length > 0) await this.client.query(statements.splice(0).join(';\n'));
      await this.client.query(statement.text, [...statement.values]);
    }
    return { rows, statements };
  }

  /** COPY into a temporary table that lives as long as the session; the insert from it is added to the statements. */
  private async stage(table: TableRows, statements: string[]): Promise<void> {
    const columns = table.columns.join(', ');
    const stage = `stage_${table.table.replaceAll(/[^a-z0-9_]/gi, '_')}`;
    if (!this.staged.has(stage)) {
      await this.client.query(
        `create temp table if not exists ${stage} on commit delete rows as select ${columns} from ${table.table} with no data`,
      );
      this.staged.add(stage);
    }
    if (this.filled.has(stage)) await this.client.query([...statements.splice(0), `truncate ${stage}`].join(';\n'));
    this.filled.add(stage);
    await copyRows(this.client, stage, table.columns, table.types as CopyType[], table.rows);
    const clause =
      table.onConflict === 'ignore' ? 'on conflict do nothing' : (table.onConflict as { update: string }).update;
    statements.push(`insert into ${table.table} (${columns}) select ${columns} from ${stage} ${clause}`);
  }
}

function parkingOf(
  event: DecodedEvent,
  scope: string,
  problem: { readonly code: string; readonly path?: string; readonly byteOffset?: number },
): Parking {
  return {
    messageId: event.id,
    scope,
    position: event.position,
    ...(event.envelope.sourceRecordId === undefined ? {} : { sourceRecordId: event.envelope.sourceRecordId }),
    code: problem.code,
    ...(problem.path === undefined ? {} : { path: problem.path }),
    ...(problem.byteOffset === undefined ? {} : { byteOffset: problem.byteOffset }),
    attempt: 1,
  };
}

/** An SQL literal of text that the hub itself made (names, instants). */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
