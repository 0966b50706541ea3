/** Changes of dead letters: sealed, handed to the writer, and waited for until the tables show them. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { CORRECT_REQUEST, DISCARD_REQUEST, REPLAY_REQUEST } from '../inbound/letters/letter-desk.js';
import { sealParcel, type ParcelKeys } from '../inbound/letters/parcel.js';
import type { Position } from '../log/event-log.js';
import type { Json } from '../mapping/fact.js';
import type { Mailbox } from '../projecting/announcer.js';
import { KeyDestroyedError } from '../sealing/key-store.js';
import { GraphError } from './errors.js';

export interface LetterChange {
  /** Id of the change: the same for one asked for again. */
  readonly request: string;
  readonly requestedBy: string;
  readonly expectedVersion?: number;
}

const REQUEST_TIMEOUT_MS = 20_000;
/** The project role carries a decision out within milliseconds; while it is away the decision stands and the answer does not wait for it. */
const CARRIED_OUT_TIMEOUT_MS = 5_000;
const FIRST_POLL_MS = 5;
const LAST_POLL_MS = 200;
/** Letters handed to the writer together. */
const CHUNK = 100;
/** Letters named in one answer; more are replayed all the same. */
const MOST_ANSWERED = 10_000;
const MOST_REASON_CHARACTERS = 2_000;

export class LetterDesk {
  constructor(
    private readonly pool: pg.Pool,
    private readonly mailbox: Mailbox,
    private readonly keys: Pick<ParcelKeys, 'keysForOwners'>,
  ) {}

  /** @throws GraphError ERASED, NOT_FOUND, CONFLICT, BAD_USER_INPUT; WriterUnavailableError, WriterRequestError */
  async correct(messageId: string, body: Buffer, change: LetterChange): Promise<void> {
    if (body.length === 0) throw new GraphError('BAD_USER_INPUT', 'body: a message has at least one byte');
    await this.ask(CORRECT_REQUEST, { ...plain(change), messageId, body: await this.sealed(messageId, body) });
  }

  /** @throws as {@link correct} */
  async discard(messageId: string, reason: string, change: LetterChange): Promise<void> {
    if (reason.trim() === '' || reason.length > MOST_REASON_CHARACTERS) {
      throw new GraphError('BAD_USER_INPUT', `reason: expected 1 to ${MOST_REASON_CHARACTERS} characters`);
    }
    const sealed = await this.sealed(messageId, Buffer.from(reason, 'utf8'));
    await this.ask(DISCARD_REQUEST, { ...plain(change), messageId, reason: sealed });
  }

  /** @returns the letters, in the order given. @throws as {@link correct} */
  async replay(messageIds: readonly string[], change: LetterChange): Promise<readonly string[]> {
    for (let from = 0; from < messageIds.length; from += CHUNK) {
      await this.ask(REPLAY_REQUEST, { ...plain(change), messageIds: messageIds.slice(from, from + CHUNK) });
    }
    return messageIds;
  }

  /**
   * Every letter that waits for somebody, in order of the messages, a few at a time. One that cannot be replayed (erased since) is passed over.
   * @returns the first 10,000 of them
   */
  async replayAll(change: LetterChange): Promise<readonly string[]> {
    const answered: string[] = [];
    const { rows: heads } = await this.pool.query<{ last: bigint | null }>(
      `select max(position) as last from hub.dead_letter where status in ('PARKED', 'CORRECTED')`,
    );
    const last = heads[0]?.last ?? 0n;
    for (let after = 0n; ;) {
      const { rows } = await this.pool.query<{ message_id: string; position: bigint }>(
        `select message_id, position from hub.dead_letter where status in ('PARKED', 'CORRECTED') and position > $1 and position <= $2
           and request is distinct from $3 order by position limit ${CHUNK}`,
        [after.toString(), last.toString(), change.request],
      );
      const final = rows.at(-1);
      if (final === undefined) return answered;
      const messageIds = rows.map((row) => row.message_id);
      await this.ask(REPLAY_REQUEST, { ...plain(change), messageIds, passOver: true });
      answered.push(...messageIds.slice(0, MOST_ANSWERED - answered.length));
      after = final.position;
    }
  }

  private async sealed(messageId: string, content: Buffer): Promise<Json> {
    const { rows } = await this.pool.query('select 1 from hub.dead_letter where message_id = $1', [messageId]);
    if (rows.length === 0) throw new GraphError('NOT_FOUND', 'no dead letter has this id');
    try {
      return { ...(await sealParcel(this.keys, messageId, content)) };
    } catch (error) {
      if (error instanceof KeyDestroyedError) throw new GraphError('ERASED', 'the message was erased');
      throw error;
    }
  }

  private async ask(kind: string, request: { [name: string]: Json }): Promise<void> {
    const answer = await this.mailbox.request(kind, request, { timeoutMs: REQUEST_TIMEOUT_MS });
    const { position } = answer as { position: string | null };
    if (position !== null) await this.carriedOut(BigInt(position));
  }

  private async carriedOut(position: Position): Promise<void> {
    const deadline = performance.now() + CARRIED_OUT_TIMEOUT_MS;
    for (let pollMs = FIRST_POLL_MS; performance.now() < deadline; pollMs = Math.min(pollMs * 2, LAST_POLL_MS)) {
      const { rows } = await this.pool.query<{ least: bigint | null }>(
        `select least((select position from hub.checkpoint where projection = 'control'),
           (select min(c.position) from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version
            where p.serving and not p.paused and p.worker = 'running')) as least`,
      );
      if ((rows[0]?.least ?? 0n) >= position) return;
      await delay(pollMs);
    }
  }
}

function plain({ request, requestedBy, expectedVersion }: LetterChange): { [name: string]: Json } {
  return { request, requestedBy, ...(expectedVersion === undefined ? {} : { expectedVersion }) };
}
