/** Arguments that every mutation takes, and who asks. */
import type { GraphContext } from '../resolvers.js';

export interface MutationArguments {
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: number | null;
}

/** Who asks, as it stands in the decision event: a user id or a client's, no name; without a login `loopback`. */
export function requestedBy({ principal }: GraphContext): string {
  return principal.name;
}

/** Arguments without what is null: an explicit null means the same as leaving it out (API.md). */
export function given<T extends object>(values: T): { [name in keyof T]?: Exclude<T[name], null | undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined)) as {
    [name in keyof T]?: Exclude<T[name], null | undefined>;
  };
}
