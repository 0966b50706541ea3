/** The key-encryption key as the graph shows it, and the way to change it: through the writer, which wraps every key again. */
import type pg from 'pg';
import type { Mailbox } from '../projecting/announcer.js';
import { ROTATE_KEYS_REQUEST } from '../sealing/key-keeper.js';
import { kekVersions, rotationState } from '../sealing/rotation.js';

export interface KeysView {
  readonly active: string;
  readonly versions: readonly { id: string; state: string; since: string; wraps: string }[];
  readonly rotation: {
    readonly id: string;
    readonly to: string;
    readonly startedAt: string;
    readonly finishedAt: string | null;
    readonly rewrapped: string;
    readonly total: string;
    readonly problem: string | null;
  } | null;
  readonly erasures: number;
}

const REQUEST_TIMEOUT_MS = 10_000;

export class KeyDesk {
  constructor(
    private readonly pool: pg.Pool,
    private readonly mailbox: Mailbox,
  ) {}

  async view(): Promise<KeysView> {
    const [versions, rotation, erasures] = await Promise.all([
      kekVersions(this.pool),
      rotationState(this.pool),
      this.pool.query<{ count: number }>('select coalesce(max(epoch), 0)::int4 as count from sealing.erasure'),
    ]);
    return {
      active: versions.find(({ state }) => state === 'active')?.id ?? '',
      versions: versions.map(({ state, wraps, ...version }) => ({
        ...version,
        state: state.toUpperCase(),
        wraps: wraps.toString(),
      })),
      rotation:
        rotation === undefined
          ? null
          : {
              id: rotation.id,
              to: rotation.kekId,
              startedAt: rotation.startedAt,
              finishedAt: rotation.finishedAt,
              rewrapped: rotation.rewrapped.toString(),
              total: rotation.total.toString(),
              problem: rotation.problem,
            },
      erasures: erasures.rows[0]?.count ?? 0,
    };
  }

  /** @throws WriterUnavailableError, WriterRequestError (MASTER_KEY where versions are made elsewhere) */
  async rotate(): Promise<void> {
    await this.mailbox.request(ROTATE_KEYS_REQUEST, {}, { timeoutMs: REQUEST_TIMEOUT_MS });
  }
}
