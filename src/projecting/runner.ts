/** Runs the live builds of all projections over one feed: each at its own pace and in its own transactions, decoded once for all. */
import type pg from 'pg';
import type { Position } from '../log/event-log.js';
import type { Lane } from './batch-writer.js';
import { CheckpointConflictError, RuntimeClosedError, errorText, errorWord, failureKind } from './errors.js';
import type { DecodedPage, EventFeed, FeedReader } from './feed.js';
import type { Parking, Parkings } from './parkings.js';
import type { Shares } from './shares.js';
import { ProjectionWorker, backOff, pause, type CommittedBatch, type WorkerCounters } from './worker.js';
import { untilAborted } from './until-aborted.js';

/** The part of a logger that the runtime uses; fields are names, numbers and codes only. */
export interface RuntimeLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

export interface RunnerOptions {
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  /** Whether a projection is still this process's to carry. */
  readonly shares?: Pick<Shares, 'holds' | 'stillHolds'>;
  readonly feed: EventFeed;
  readonly parkings: Parkings;
  readonly log: RuntimeLog;
  readonly onParked?: (parked: readonly Parking[]) => void;
  readonly onBatch?: (batch: CommittedBatch) => void;
  readonly onRetry?: (projection: string, word: string) => void;
}

/** Conflicts in one run of a worker that holds the lease: more than these are made by a process that asks for no lease. */
const MOST_CONFLICTS = 5;

interface Gate {
  readonly open: Promise<void>;
  readonly release: () => void;
}

interface Running {
  readonly worker: ProjectionWorker;
  readonly abort: AbortController;
  /** There while an operator's pause holds the worker. */
  paused: Gate | undefined;
  /** There while an alignment holds it: nobody else may let it go on. */
  held: Gate | undefined;
  /** Goes to this end of a page and no further, paused or not, then holds. */
  until: Position | undefined;
  /** Told when it has got there. */
  idle: (() => void) | undefined;
  /** The batch in hand, or the last one. */
  committing: Promise<unknown>;
  done: Promise<void>;
  /** Why it stopped, where it did by itself. */
  failure: unknown;
}

export class LiveRunner {
  private readonly running = new Map<string, Running>();

  constructor(private readonly options: RunnerOptions) {}

  /** Starts a worker for a build; paused if asked. */
  start(lane: Lane, paused = false): void {
    const key = keyOf(lane.definition.name, lane.build);
    if (this.running.has(key)) throw new Error(`${key} runs already`);
    const { databaseUrl, parkings, onParked, onBatch, onRetry, log } = this.options;
    const worker = new ProjectionWorker({
      databaseUrl,
      lane,
      parkings,
      ...(onParked === undefined ? {} : { onParked }),
      ...(onBatch === undefined ? {} : { onBatch }),
      onRetry: (word, attempt) => {
        onRetry?.(lane.definition.name, word);
        // The first few are a moment's matter; what lasts is said.
        if (attempt === 4 || attempt % 50 === 0) {
          log.warn(
            { projection: lane.definition.name, version: lane.build, code: word, attempt },
            'projection retries',
          );
        }
      },
    });
    const running: Running = {
      worker,
      abort: new AbortController(),
      paused: paused ? newGate() : undefined,
      held: undefined,
      until: undefined,
      idle: undefined,
      committing: Promise.resolve(),
      done: Promise.resolve(),
      failure: undefined,
    };
    this.running.set(key, running);
    running.done = this.run(running, lane);
  }

  /** Finishes the batch in hand and holds the worker there. */
  async pause(name: string, build: number): Promise<void> {
    const running = this.running.get(keyOf(name, build));
    if (running === undefined || running.paused !== undefined) return;
    running.paused = newGate();
    await this.note(name, build, 'paused');
  }

  async resume(name: string, build: number): Promise<void> {
    const running = this.running.get(keyOf(name, build));
    const gate = running?.paused;
    if (running === undefined || gate === undefined) return;
    running.paused = undefined;
    gate.release();
    await this.note(name, build, 'running');
  }

  /**
   * Brings two builds to one position and holds them there for as long as `work` runs: what is looked at then can be compared. Live work
   * waits for about a page, so `work` should only open a snapshot.
   * @returns undefined where one of them does not run or has failed
   */
  aligned<T>(one: Lane, other: Lane, work: (position: Position) => Promise<T>): Promise<T | undefined> {
    // One after another: two of them would open each other's gates.
    const done = this.aligning.then(() => this.alignedAlone(one, other, work));
    this.aligning = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }
  private aligning: Promise<void> = Promise.resolve();

  private async alignedAlone<T>(
    one: Lane,
    other: Lane,
    work: (position: Position) => Promise<T>,
  ): Promise<T | undefined> {
    const pair = [one, other].map((lane) => this.running.get(keyOf(lane.definition.name, lane.build)));
    const [first, second] = pair;
    if (first === undefined || second === undefined) return undefined;
    try {
      const positions = [await this.hold(first), await this.hold(second)] as const;
      const target = positions[0] > positions[1] ? positions[0] : positions[1];
      for (const [index, running] of [first, second].entries()) {
        if (positions[index] !== target) await this.goTo(running, target);
        if (running.failure !== undefined || (await running.worker.position()) !== target) return undefined;
      }
      return await work(target);
    } finally {
      for (const running of [first, second]) {
        running.until = undefined;
        running.idle = undefined;
        const { held } = running;
        running.held = undefined;
        held?.release();
      }
    }
  }

  /** Holds a worker at the end of its batch. */
  private async hold(running: Running): Promise<Position> {
    running.held ??= newGate();
    // A batch that fails shows as the worker's failure.
    await running.committing.catch(() => undefined);
    return running.worker.position();
  }

  /** Lets a held worker go on to the end of a page and holds it there. */
  private async goTo(running: Running, target: Position): Promise<void> {
    if ((await running.worker.position()) >= target) return;
    const { held, paused } = running;
    running.until = target;
    const arrived = new Promise<void>((resolve) => {
      running.idle = resolve;
    });
    running.held = undefined;
    held?.release();
    if (paused !== undefined) {
      // A gate opens once: the pause goes on behind a new one.
      running.paused = newGate();
      paused.release();
    }
    await Promise.race([arrived, running.done]);
  }

  /** Finishes the batch in hand and ends the worker. */
  async stop(name: string, build: number): Promise<void> {
    const key = keyOf(name, build);
    const running = this.running.get(key);
    if (running === undefined) return;
    running.abort.abort();
    running.worker.giveUpRetrying();
    running.paused?.release();
    running.held?.release();
    await running.done;
    this.running.delete(key);
  }

  /** @param name of a projection; without it, of all */
  async stopAll(name?: string): Promise<void> {
    const lanes = [...this.running.values()].map(({ worker }) => worker.lane);
    await Promise.all(
      lanes
        .filter(({ definition }) => name === undefined || definition.name === name)
        .map(({ definition, build }) => this.stop(definition.name, build)),
    );
  }

  /** Ends a worker that failed, so that it can be started again. */
  async clearFailed(name: string, build: number): Promise<void> {
    if (this.running.get(keyOf(name, build))?.failure !== undefined) await this.stop(name, build);
  }

  /** Position of a worker's last commit, as it knows it. */
  async position(name: string, build: number): Promise<Position | undefined> {
    const running = this.running.get(keyOf(name, build));
    return running === undefined || running.failure !== undefined ? undefined : running.worker.position();
  }

  /** It was started and not stopped; it may have failed since. */
  isRunning(name: string, build: number): boolean {
    return this.running.has(keyOf(name, build));
  }

  /** It runs and has not failed: it can be brought to a position. */
  isSound(name: string, build: number): boolean {
    const running = this.running.get(keyOf(name, build));
    return running !== undefined && running.failure === undefined;
  }

  counters(): { projection: string; build: number; counters: WorkerCounters; failed: boolean }[] {
    return [...this.running.values()].map(({ worker, failure }) => ({
      projection: worker.lane.definition.name,
      build: worker.lane.build,
      counters: worker.counters,
      failed: failure !== undefined,
    }));
  }

  /** Resolves when the worker ends; with the failure, if it was not asked to. */
  async ended(name: string, build: number): Promise<unknown> {
    const running = this.running.get(keyOf(name, build));
    await running?.done;
    return running?.failure;
  }

  private async run(running: Running, lane: Lane): Promise<void> {
    const { definition, build } = lane;
    try {
      await this.note(definition.name, build, running.paused === undefined ? 'running' : 'paused');
      await this.carryOn(running);
      await this.note(definition.name, build, 'stopped');
    } catch (error) {
      if (error instanceof RuntimeClosedError) {
        await this.note(definition.name, build, 'stopped');
        return;
      }
      if ((await this.conflictWithin(definition.name, error)) === 'taken over') return;
      running.failure = error;
      this.options.log.error(
        { projection: definition.name, version: build, code: errorWord(error) },
        `projection stopped: ${errorText(error)}`,
      );
      await this.note(definition.name, build, 'stopped', errorText(error));
    } finally {
      await running.worker.close();
    }
  }

  /** As far as this process knows, the projection is its to carry. */
  isOurs(name: string): boolean {
    return this.options.shares?.holds(name) !== false;
  }

  /** As {@link carry}; where a process that had lost its lease without knowing finished a batch meanwhile, on from there. */
  private async carryOn(running: Running): Promise<void> {
    for (let conflicts = 1; ; conflicts += 1) {
      try {
        return await this.carry(running);
      } catch (error) {
        const { definition, build } = running.worker.lane;
        const found = await this.conflictWithin(definition.name, error);
        if (found !== 'of an earlier holder' || conflicts > MOST_CONFLICTS) throw error;
        this.options.log.warn(
          { projection: definition.name, version: build, code: errorWord(error), attempt: conflicts },
          'another process was here: on from its checkpoint',
        );
        running.worker.startAgain();
      }
    }
  }

  /**
   * What a conflict means by the lease: another process has it now and has gone on (nothing is wrong, this one's batch was rolled back), or this
   * one has it and an earlier holder finished what it had in hand. Undefined for other errors, and where there are no leases.
   */
  async conflictWithin(name: string, error: unknown): Promise<'taken over' | 'of an earlier holder' | undefined> {
    const { shares } = this.options;
    if (!(error instanceof CheckpointConflictError) || shares === undefined) return undefined;
    try {
      return (await shares.stillHolds(name)) ? 'of an earlier holder' : 'taken over';
    } catch {
      // Unknown while the database is away: shown as what it is.
      return undefined;
    }
  }

  private async carry(running: Running): Promise<void> {
    const reader = this.options.feed.join(await running.worker.position());
    try {
      await this.follow(running, reader);
    } finally {
      reader.leave();
    }
  }

  private async follow(running: Running, reader: FeedReader): Promise<void> {
    const { worker, abort } = running;
    while (!abort.signal.aborted) {
      const gate = closedGate(running);
      if (gate !== undefined) {
        await gate.open;
        continue;
      }
      if (running.until !== undefined && (await worker.position()) >= running.until) {
        running.until = undefined;
        running.held = newGate();
        running.idle?.();
        continue;
      }
      const page = await untilAborted(this.nextPage(worker, reader, abort.signal), abort.signal);
      if (page === undefined) return;
      // A gate that closed while this was waiting for events holds before they are written.
      if (closedGate(running) !== undefined) continue;
      const { until } = running;
      const wanted = until === undefined || page.last <= until ? page : upTo(page, until);
      if (wanted.last === page.last) this.options.feed.prefetch(page.last, reader);
      running.committing = worker.process(wanted);
      await running.committing;
    }
  }

  private async nextPage(
    worker: ProjectionWorker,
    reader: FeedReader,
    signal: AbortSignal,
  ): Promise<DecodedPage | undefined> {
    const position = await worker.position();
    reader.moveTo(position);
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        return await this.options.feed.pageAfter(position, reader);
      } catch (error) {
        if (failureKind(error) !== 'transient') throw error;
        await pause(backOff(attempt), signal);
      }
    }
    return undefined;
  }

  /** For status displays only: that the database is away must not end a worker. */
  private async note(
    name: string,
    build: number,
    state: 'running' | 'paused' | 'stopped',
    failure?: string,
  ): Promise<void> {
    // Of one that another process carries, that process speaks.
    if (!this.isOurs(name)) return;
    try {
      await this.options.pool.query(
        `update hub.projection set worker = $3, last_error = coalesce($4, case when $3 = 'running' then null else last_error end)
         where name = $1 and version = $2`,
        [name, build, state, failure ?? null],
      );
    } catch (error) {
      this.options.log.warn(
        { projection: name, version: build, code: errorWord(error) },
        'state of a projection not noted',
      );
    }
  }
}

function keyOf(name: string, build: number): string {
  return `${name}:${build}`;
}

/** The events of a page up to a position where another worker's page ended. */
function upTo(page: DecodedPage, until: Position): DecodedPage {
  return { after: page.after, last: until, events: page.events.filter((event) => event.position <= until) };
}

/** What holds the worker now: an alignment, else a pause that no alignment has set aside. */
function closedGate({ held, paused, until }: Running): Gate | undefined {
  return held ?? (until === undefined ? paused : undefined);
}

function newGate(): Gate {
  let release = (): void => undefined;
  const open = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { open, release };
}
