/** Decisions about dead letters are made one after another, each on what the ones before have brought about. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { MessageReplayed } from '../../log/decisions.js';
import { EVENT_TYPES } from '../../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../../log/event-log.js';
import { LETTER_TYPES } from '../../projecting/dead-letters.js';
import { takenIn } from './held.js';

/** The projections are away or behind: what stands in the dead letters is not known. `code` is stable: LETTERS_BEHIND. */
export class LettersBehindError extends Error {
  readonly code = 'LETTERS_BEHIND';
  constructor() {
    super('the projections have not taken in what was decided last: ask again');
  }
}

const LOOK_BACK_EVENTS = 200;
const FIRST_POLL_MS = 4;
const LAST_POLL_MS = 100;

export class TakenIn {
  /** Position of the last decision about a letter. */
  private letters: Position = 0n;
  /** Of that, or of the last replay of what waited. */
  private lines: Position = 0n;

  constructor(
    private readonly pool: Pick<pg.Pool, 'query'>,
    private readonly reader: Pick<EventLogReader, 'head' | 'readPage'>,
  ) {}

  /** Finds the last decisions that the log holds: what was decided before a restart counts as well. */
  async open(): Promise<void> {
    for (let after: Position | undefined; ;) {
      const page = await this.reader.readPage({
        direction: 'backwards',
        types: LETTER_TYPES,
        limit: LOOK_BACK_EVENTS,
        ...(after === undefined ? {} : { after }),
      });
      for (const event of page) {
        const aboutLetter = !isFollowUp(event);
        this.noted(event.position, aboutLetter ? 'letter' : 'line');
        if (aboutLetter) return;
      }
      after = page.at(-1)?.position;
      if (page.length < LOOK_BACK_EVENTS) return;
    }
  }

  /** A decision stands in the log: about a letter, or the replay of what waited behind one. */
  noted(position: Position, about: 'letter' | 'line'): void {
    if (position > this.lines) this.lines = position;
    if (about === 'letter' && position > this.letters) this.letters = position;
  }

  /** Lines that are projected up to here lack no decision. */
  get position(): Position {
    return this.lines;
  }

  /**
   * Waits until the letters, or the lines too, show everything that was decided.
   * @throws LettersBehindError
   */
  async wait(what: 'letters' | 'lines', timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { letters, lines } = this;
    await this.until(
      ({ control, projections }) => control >= letters && (what === 'letters' || projections >= lines),
      timeoutMs,
      signal,
    );
  }

  /**
   * Waits until everything in the log is projected.
   * @throws LettersBehindError
   */
  async waitForHead(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const head = await this.reader.head();
    await this.until(({ projections }) => projections >= head, timeoutMs, signal);
  }

  private async until(
    reached: (places: { readonly control: Position; readonly projections: Position }) => boolean,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 2, LAST_POLL_MS)) {
      if (reached(await takenIn(this.pool))) return;
      if (performance.now() > deadline || signal?.aborted === true) throw new LettersBehindError();
      await delay(pollMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    }
  }
}

function isFollowUp(event: RecordedEvent): boolean {
  if (event.type !== EVENT_TYPES.replayed) return false;
  return (JSON.parse(event.data.toString('utf8')) as MessageReplayed).only !== undefined;
}
