/** Writes one batch of one projection build: rows, parkings and checkpoint in one transaction, in a handful of round trips. */
import type pg from 'pg';
import { copyStep, type CopyType } from '../database/binary-copy.js';
import { fewRowsStep } from '../database/few-rows.js';
import { runPipeline, type PipelineStep } from '../database/pipeline.js';
import type { Position } from '../log/event-log.js';
import { CheckpointConflictError, NewPoisonError, SystematicFailureError, errorWord, failureKind } from './errors.js';
import { MappingError } from '../mapping/fact.js';
import { storeAttempts, storeLetter } from './dead-letters.js';
import { HeldLines } from './held-lines.js';
import { attemptOf, hold, parkingOf, type HeldView } from './holding.js';
import { KnownRows } from './known-rows.js';
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
  /** Attempts that failed in passing since the last batch that went through, to show. */
  readonly retries?: number;
}

/** How long it is known when a live build had reached what: for receipts. */
const PROJECTED_KEPT = '1 hour';
const FORGET_EVERY_BATCHES = 256;

/** Belongs to one connection: it remembers which staging tables that session has. */
export class BatchWriter {
  private readonly staged = new Set<string>();
  /** Staging tables with rows of the open transaction. */
  private readonly filled = new Set<string>();

  private readonly held: HeldLines;
  private readonly known = new KnownRows();
  private batches = 0;
  /** The lines, as far as the search for poison has got. */
  private trial = new Queues();

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
    this.filled.clear();
    // What is read before the transaction holds in it: whoever changes it moves the checkpoint, and then this batch does not commit.
    const queues = await this.held.load(batch.events);
    const view = this.view(batch.events, parkings, queues, omitted);
    const found = [...view.found, ...poison];
    this.refuseInRebuild(found);
    const { rows, steps } = await this.apply(view.events);
    const opening = this.opening(batch);
    if (found.length > 0 || queues.hasChanges) {
      await this.open(opening.splice(0), batch);
      await storeAttempts(this.client, found);
      for (const parking of found) await storeLetter(this.client, parking);
      await this.held.store(queues);
    }
    await this.open([...opening, ...steps, ...this.closing(batch), { text: 'commit' }], batch);
    this.held.committed(queues);
    this.known.committed();
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
    await this.open(this.opening(batch), batch);
    this.trial = await this.held.load(batch.events);
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
      const { steps } = await this.apply(this.view(events, parkings, queues, omitted).events);
      await runPipeline(this.client, [...steps, { text: 'release savepoint probe' }]);
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
   * written anything. What is sent behind it in the same round trip is skipped by the server then.
   */
  private opening(batch: Batch): PipelineStep[] {
    const { definition, build, lane } = this.lane;
    const last = batch.events.at(-1);
    return [
      { text: 'begin' },
      {
        text: 'select hub.move_checkpoint($1, $2, $3, $4, $5, $6, $7, $8, $9)',
        values: [
          definition.name,
          String(build),
          String(lane),
          String(batch.expected),
          String(batch.target),
          String(batch.events.length),
          last?.envelope.recordedAt ?? null,
          batch.rate.toFixed(1),
          String(batch.retries ?? 0),
        ],
        prepared: true,
      },
    ];
  }

  /** Tells who waits, and keeps for a while when a live build had reached what. */
  private closing({ target }: Batch): PipelineStep[] {
    const { definition, build, mode } = this.lane;
    const names = [definition.name, String(build)];
    const steps: PipelineStep[] = [
      {
        text: `select pg_notify('${PROJECTED_CHANNEL}', concat_ws(' ', $1::text, $2::text, $3::text))`,
        values: [...names, String(target)],
        prepared: true,
      },
    ];
    if (mode !== 'live') return steps;
    steps.push({
      text: 'insert into hub.projected (projection, version, position, at) values ($1, $2, $3, clock_timestamp()) on conflict do nothing',
      values: [...names, String(target)],
      prepared: true,
    });
    this.batches += 1;
    if (this.batches % FORGET_EVERY_BATCHES === 0) {
      steps.push({
        text: `delete from hub.projected where projection = $1 and version = $2 and at < clock_timestamp() - interval '${PROJECTED_KEPT}'`,
        values: names,
      });
    }
    return steps;
  }

  /** Carries out steps of which the first may be those of {@link opening}. */
  private async open(steps: readonly PipelineStep[], batch: Batch): Promise<void> {
    try {
      await runPipeline(this.client, steps);
    } catch (error) {
      if (!isCheckpointMoved(error)) throw error;
      await this.client.query('rollback');
      const { definition, build, lane } = this.lane;
      const { rows } = await this.client.query<{ position: bigint }>(
        'select position from hub.checkpoint where projection = $1 and version = $2 and lane = $3',
        [definition.name, build, lane],
      );
      throw new CheckpointConflictError(definition.name, build, lane, batch.expected, rows[0]?.position);
    }
  }

  /** Rows of the events, as steps for the transaction of the batch: together they cost one round trip. */
  private async apply(events: readonly DecodedEvent[]): Promise<{ rows: number; steps: PipelineStep[] }> {
    const { definition, build, mode } = this.lane;
    const taken = takenBy(definition, events);
    const loaded: unknown = await definition.load?.(taken, this.client as unknown as pg.PoolClient, build);
    const tables = definition.apply(taken, { mode, loaded }, build);
    const steps: PipelineStep[] = [];
    let rows = 0;
    this.known.begin();
    for (const made of tables) {
      const { key } = made;
      const table = key === undefined ? made : { ...made, rows: this.known.missing({ ...made, key }) };
      if (table.rows.length === 0) continue;
      rows += table.rows.length;
      const added = this.lane.loading === true && table.onConflict === 'ignore';
      if (added || table.onConflict === undefined || table.onConflict === 'insert') {
        steps.push(copyStep(table.table, table.columns, table.types as CopyType[], table.rows));
      } else {
        this.stage(table, steps);
      }
    }
    for (const { text, values } of definition.after?.(taken, build) ?? []) {
      steps.push({ text, values: (values ?? []).map(parameterText) });
    }
    // Last: what is rejected above never gets there, and the checkpoint is not moved before it is there.
    await definition.outside?.write(taken, build);
    return { rows, steps };
  }

  /** Few rows by one insert; more by COPY into a temporary table that lives as long as the session, and the insert from it. */
  private stage(table: TableRows, steps: PipelineStep[]): void {
    const clause =
      table.onConflict === 'ignore' ? 'on conflict do nothing' : (table.onConflict as { update: string }).update;
    const few = fewRowsStep({ ...table, types: table.types as CopyType[] }, clause);
    if (few !== undefined) {
      steps.push(few);
      return;
    }
    const columns = table.columns.join(', ');
    const stage = `stage_${table.table.replaceAll(/[^a-z0-9_]/gi, '_')}`;
    if (!this.staged.has(stage)) {
      steps.push({
        text: `create temp table if not exists ${stage} on commit delete rows as select ${columns} from ${table.table} with no data`,
      });
      this.staged.add(stage);
    }
    if (this.filled.has(stage)) steps.push({ text: `truncate ${stage}` });
    this.filled.add(stage);
    steps.push(copyStep(stage, table.columns, table.types as CopyType[], table.rows));
    steps.push({ text: `insert into ${table.table} (${columns}) select ${columns} from ${stage} ${clause}` });
  }
}

/** SQLSTATE of `hub.move_checkpoint` for a checkpoint that is not where it should be (migrations/048-projected.ts). */
const CHECKPOINT_MOVED = 'AN001';

function isCheckpointMoved(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === CHECKPOINT_MOVED;
}

/** A bound value as PostgreSQL reads it. */
function parameterText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  return JSON.stringify(value);
}
