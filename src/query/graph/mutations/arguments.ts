/** Arguments that every mutation takes, and who asks. */
import type { GraphContext } from '../resolvers.js';

export interface MutationArguments {
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: number | null;
}

/** Who asks, as it stands in the decision event: a user id or a role, no name. Without a login it is whoever reaches the loopback address. */
export function requestedBy(_context: GraphContext): string {
  return 'loopback';
}

/** Arguments without what is null: an explicit null means the same as leaving it out (API.md). */
export function given<T extends object>(values: T): { [name in keyof T]?: Exclude<T[name], null | undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined)) as {
    [name in keyof T]?: Exclude<T[name], null | undefined>;
  };
}
