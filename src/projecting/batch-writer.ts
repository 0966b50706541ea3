/** Writes one batch of one projection build: rows, parkings and checkpoint in one transaction, in a handful of round trips. */
import type pg from 'pg';
import { copyRows, type CopyType } from '../database/binary-copy.js';
import type { Position } from '../log/event-log.js';
import { CheckpointConflictError, NewPoisonError, SystematicFailureError, errorWord, failureKind } from './errors.js';
import { MappingError } from '../mapping/fact.js';
import { storeAttempts, storeLetter } from './dead-letters.js';
import { HeldLines } from './held-lines.js';
import { attemptOf, hold, parkingOf, type HeldView } from './holding.js';
import type { Parking, Parkings } from './parkings.js';
import {
  EventRejected,
  takenBy,
  type Build,
  type DecodedEvent,
  type ProjectionDefinition,
  type ProjectionMode,
  type TableRows,
} from './projection.js';
import { Queues } from './queues.js';

/** Channel of the notice that a checkpoint moved; payload `<projection> <build> <position>`. */
export const PROJECTED_CHANNEL = 'hub_projected';

/** From this size on, a batch of which every single event fails is a fault of the code, not of the records. */
const SYSTEMATIC_FROM_EVENTS = 8;

export interface Lane {
  readonly definition: ProjectionDefinition;
  readonly build: Build;
  readonly lane: number;
  readonly mode: ProjectionMode;
  /** The tables have no keys yet that rows could run into. */
  readonly loading?: boolean;
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

  private readonly held: HeldLines;
  /** As the open transaction found them. */
  private queues = new Queues();
  /** The same, as far as the search for poison has got. */
  private trial = this.queues;

  constructor(
    private readonly client: pg.Client,
    private readonly lane: Lane,
  ) {
    this.held = new HeldLines(client, lane.definition.name, lane.build);
  }

  /**
   * Applies and commits the batch. Events that cannot be applied are found by bisecting; live they are parked with the batch, a rebuild
   * throws NewPoisonError.
   * @throws CheckpointConflictError when the checkpoint is not at `expected`; whatever the connection throws
   */
  async write(batch: Batch, parkings: Parkings): Promise<BatchResult> {
    const found: Parking[] = [];
    const omitted = new Set<string>();
    for (;;) {
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

  private refuseInRebuild(found: readonly Parking[]): void {
    const [first] = found;
    if (first === undefined || this.lane.mode === 'live') return;
    throw new NewPoisonError(this.lane.definition.name, first.position, first.messageId, first.code);
  }

  private async attempt(
    batch: Batch,
    parkings: Parkings,
    poison: readonly Parking[],
    omitted: ReadonlySet<string>,
  ): Promise<BatchResult> {
    const { definition, build } = this.lane;
    await this.begin(batch);
    const queues = this.queues.fork();
    const view = this.view(batch.events, parkings, queues, omitted);
    const found = [...view.found, ...poison];
    this.refuseInRebuild(found);
    const { rows, statements } = await this.apply(view.events);
    await storeAttempts(this.client, found);
    for (const parking of found) await storeLetter(this.client, parking);
    await this.held.store(queues);
    const notice = `select pg_notify('${PROJECTED_CHANNEL}', '${definition.name} ${build} ${batch.target}')`;
    await this.client.query([...statements, notice, 'commit'].join(';\n'));
    this.held.committed(queues);
    return { parked: found, rows };
  }

  private view(
    events: readonly DecodedEvent[],
    parkings: Parkings,
    queues: Queues,
    omitted: ReadonlySet<string>,
  ): HeldView {
    const view = hold(events, { projection: this.lane.definition.name, parkings, queues });
    if (omitted.size === 0) return view;
    return { ...view, events: view.events.filter((event) => !omitted.has(event.id)) };
  }

  /**
   * Finds the events that fail, left to right in one transaction that is rolled back in the end: a later half runs on top of the earlier one
   * and with its parkings, as it will in the real batch. `found` and `omitted` grow; omitted are events that fail without their facts too.
   */
  private async findPoison(batch: Batch, parkings: Parkings, found: Parking[], omitted: Set<string>): Promise<void> {
    await this.begin(batch);
    this.trial = this.queues;
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
    const attempt = attemptOf(culprit);
    if (attempt === undefined || parkings.with(found).find(attempt.messageId, attempt.attempt, name) !== undefined) {
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
    const queues = this.trial.fork();
    try {
      const { statements } = await this.apply(this.view(events, parkings, queues, omitted).events);
      await this.client.query([...statements, 'release savepoint probe'].join(';\n'));
      this.trial = queues;
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
    this.queues = await this.held.load(batch.events);
  }

  /** Rows of the events, in the open transaction. What needs no answer is returned, to travel with the commit. */
  private async apply(events: readonly DecodedEvent[]): Promise<{ rows: number; statements: string[] }> {
    const { definition, build, mode } = this.lane;
    const taken = takenBy(definition, events);
    const loaded: unknown = await definition.load?.(taken, this.client as unknown as pg.PoolClient, build);
    const tables = definition.apply(taken, { mode, loaded }, build);
    const statements: string[] = [];
    let rows = 0;
    for (const table of tables) {
      if (table.rows.length === 0) continue;
      rows += table.rows.length;
      const added = this.lane.loading === true && table.onConflict === 'ignore';
      if (added || table.onConflict === undefined || table.onConflict === 'insert') {
        await copyRows(this.client, table.table, table.columns, table.types as CopyType[], table.rows);
      } else {
        await this.stage(table, statements);
      }
    }
    for (const statement of definition.after?.(taken, build) ?? []) {
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

/** An SQL literal of text that the hub itself made (names, instants). */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
