/**
 * What every mutation shares: a change asked for twice with one idempotency key is carried out once and answered twice. The answer is
 * remembered in hub.mutation; the log remembers too, for the events that a change makes have ids that derive from its own
 * ({@link MutationMemory.once}), so that one repeated after a crash between both is found there.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { Json } from '../../../mapping/fact.js';
import type { KeyedHashes } from '../../../sealing/hashes.js';
import { GraphError } from '../../errors.js';

/** A change, as somebody asks for it. */
export interface Mutation {
  /** Field of the graph: `setSource`. */
  readonly operation: string;
  /** What distinguishes it from another change of the same kind; only its keyed hash is kept. */
  readonly arguments: object;
  readonly idempotencyKey?: string | null | undefined;
  /** Who asks: a user id or a role, no name. */
  readonly requestedBy: string;
}

const MOST_KEY_CHARACTERS = 200;

interface Row {
  arguments: string;
  answer: Json;
}

export class MutationMemory {
  /** Asked for and not answered yet: the same again waits for the same answer. */
  private readonly underWay = new Map<string, { readonly arguments: string; readonly answer: Promise<Json> }>();

  constructor(
    private readonly pool: pg.Pool,
    private readonly hashes: Pick<KeyedHashes, 'uuid'>,
    private readonly onTrouble: (error: unknown) => void = () => undefined,
  ) {}

  /**
   * Carries a change out, once per (operation, key). Without a key every call is a change of its own. What throws is not remembered.
   * @param work is given the id of the change, the same for the same key; its events must derive their ids from it, so that work that
   *   was done and not answered is known again. What it answers is stored as JSON and must be free of message content
   * @throws GraphError BAD_USER_INPUT for a key that is none, CONFLICT for one that was used for another change; what work throws
   */
  async once<Answer>(mutation: Mutation, work: (id: string) => Promise<Answer>): Promise<Answer> {
    const key = mutation.idempotencyKey ?? undefined;
    if (key === undefined) return work(randomUUID());
    if (key.trim() === '' || key.length > MOST_KEY_CHARACTERS) {
      throw new GraphError('BAD_USER_INPUT', `an idempotency key has 1 to ${MOST_KEY_CHARACTERS} characters`);
    }
    const id = this.hashes.uuid('mutation', mutation.operation, key);
    const hash = this.hashes.uuid('mutation-arguments', mutation.operation, canonical(mutation.arguments));
    const running = this.underWay.get(id);
    if (running !== undefined) {
      refuseOther(running.arguments, hash);
      return running.answer as Promise<Answer>;
    }
    const answer = this.carryOut(mutation, id, hash, work).finally(() => this.underWay.delete(id));
    this.underWay.set(id, { arguments: hash, answer: answer as Promise<Json> });
    return answer;
  }

  private async carryOut<Answer>(
    mutation: Mutation,
    id: string,
    hash: string,
    work: (id: string) => Promise<Answer>,
  ): Promise<Answer> {
    const { rows } = await this.pool.query<Row>('select arguments, answer from hub.mutation where id = $1', [id]);
    const [known] = rows;
    if (known !== undefined) {
      refuseOther(known.arguments, hash);
      return known.answer as Answer;
    }
    const answer = await work(id);
    try {
      await this.pool.query(
        `insert into hub.mutation (id, operation, arguments, requested_by, answer) values ($1, $2, $3, $4, $5)
         on conflict do nothing`,
        [id, mutation.operation, hash, mutation.requestedBy, JSON.stringify(answer ?? null)],
      );
    } catch (error) {
      // The change is made and stands in the log under its own id; only the shorter way to its answer is missing.
      this.onTrouble(error);
    }
    return answer;
  }
}

function refuseOther(known: string, asked: string): void {
  if (known !== asked) throw new GraphError('CONFLICT', 'this idempotency key was used for another change');
}

/** JSON with the names of every object in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_name, child: unknown) => {
    if (typeof child === 'bigint') return child.toString();
    if (typeof child !== 'object' || child === null || Array.isArray(child)) return child;
    return Object.fromEntries(Object.entries(child).sort(([left], [right]) => (left < right ? -1 : 1)));
  });
}
