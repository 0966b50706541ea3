/** Rotations of the key-encryption key as the writer's process runs them: on request, and on from where a kill came. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type pg from 'pg';
import { decisionEvent } from '../inbound/decision-events.js';
import { EVENT_TYPES } from '../log/envelope.js';
import type { EventLogReader } from '../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../log/round.js';
import type { Json } from '../mapping/fact.js';
import type { KeyProvider } from './key-provider.js';
import { KeyRotation, rotationState, type RotationState } from './rotation.js';

/** Mailbox kind: begins a rotation. The payload is empty. */
export const ROTATE_KEYS_REQUEST = 'rotate-keys';
/** Stream of the decisions about keys. */
export const KEYS_STREAM = 'keys';

const RETRY_MS = 10_000;
const LOOK_BACK_EVENTS = 100;

export interface KeyKeeperParts {
  readonly pool: pg.Pool;
  readonly kek: KeyProvider;
  readonly tenant: string;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly retryMs?: number;
}

export class KeyKeeper {
  private readonly stopping = new AbortController();
  private readonly rotation: KeyRotation;
  private running: Promise<void> | undefined;

  constructor(private readonly parts: KeyKeeperParts) {
    this.rotation = new KeyRotation(parts);
  }

  /** Goes on with a rotation that an earlier process did not finish. */
  async start(): Promise<void> {
    const state = await rotationState(this.parts.pool);
    if (state?.finishedAt === null) this.carryOn(state);
  }

  /** Begins a rotation, or joins the one under way; it goes on after this resolves. @throws MasterKeyError */
  async rotate(): Promise<RotationState> {
    const state = await this.rotation.begin();
    this.carryOn(state);
    return state;
  }

  /** Handlers by mailbox kind, for `serveMailbox`. */
  handlers(): Record<string, (payload: Json) => Promise<Json>> {
    return {
      [ROTATE_KEYS_REQUEST]: async () => {
        const { id, kekId } = await this.rotate();
        return { id, kekId };
      },
    };
  }

  async close(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private carryOn(state: RotationState): void {
    this.running ??= this.untilDone(state).finally(() => (this.running = undefined));
  }

  private async untilDone(state: RotationState): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      try {
        await this.announce(state);
        const done = await this.rotation.run(signal);
        if (done !== undefined) {
          const fields = { count: Number(done.rewrapped), ...(done.problem === null ? {} : { code: done.problem }) };
          this.parts.logger.info(fields, 'every key is wrapped by the new master key');
        }
        return;
      } catch (error) {
        this.parts.logger.warn({ err: error }, 'the rotation of the master key is in trouble; it goes on trying');
        await delay(this.parts.retryMs ?? RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** The decision stands in the log once, under the rotation's own id. */
  private async announce({ id, kekId }: RotationState): Promise<void> {
    const { reader, writer, tenant } = this.parts;
    const told = await reader.readPage({ stream: KEYS_STREAM, direction: 'backwards', limit: LOOK_BACK_EVENTS });
    if (told.some((event) => event.id === id)) return;
    const context = { tenant, source: 'hub', sourceVersion: 1 };
    await writer.submit([decisionEvent(id, KEYS_STREAM, EVENT_TYPES.keysRotated, { rotationId: id, kekId }, context)]);
  }
}
