/** Rebuilds in the middle of it all, and what the projections themselves say of their stores in the end. */
import { graphql, until } from '../support/hub-process.js';

interface State {
  readonly name: string;
  readonly state: string;
  readonly lastError: string | null;
  readonly builds: readonly { readonly version: number; readonly state: string }[];
  readonly verifications: readonly {
    readonly id: string;
    readonly state: string;
    readonly equal: boolean | null;
    readonly report: unknown;
  }[];
}

const STATES =
  '{ projections { name state lastError builds { version state } verifications(first: 20) { id state equal report } } }';

async function statesOf(http: string): Promise<readonly State[]> {
  return (await graphql<{ projections: State[] }>(http, STATES)).projections;
}

/** Asks for a rebuild. @returns whether it was taken: one may be under way, or the writer be dead just now */
export async function askForRebuild(http: string, name: string): Promise<boolean> {
  try {
    await graphql(http, 'mutation ($name: String!) { rebuildProjection(name: $name) { name } }', { name });
    return true;
  } catch {
    // Refused or lost on the way: the next one is asked for all the same.
    return false;
  }
}

/**
 * Waits until no rebuild is under way, then has every projection held against the log.
 * @returns how many builds and verifications, of the rebuilds on the way and of the end, were not what the log says
 */
export async function verifyEverything(http: string, print: (line: string) => void): Promise<number> {
  const TIMEOUT_MS = 300_000;
  const settled = await until(
    () => statesOf(http),
    (states) => states.every(({ builds }) => builds.every(({ state }) => state !== 'BUILDING' && state !== 'BUILT')),
    TIMEOUT_MS,
  );
  for (const { name } of settled) {
    await graphql(http, 'mutation ($name: String!) { verifyProjection(name: $name) { name } }', { name });
  }
  const done = await until(
    () => statesOf(http),
    (states) =>
      states.every(({ name, verifications }) => {
        const before = settled.find((state) => state.name === name)?.verifications ?? [];
        const fresh = verifications.find(({ id }) => before.every((one) => one.id !== id));
        return fresh?.state === 'DONE' || fresh?.state === 'FAILED';
      }),
    TIMEOUT_MS,
  );
  let wrong = 0;
  for (const { name, builds, verifications, lastError } of done) {
    const failed = builds.filter(({ state }) => state === 'FAILED');
    const differing = verifications.filter(({ state, equal }) => state === 'DONE' && equal !== true);
    const last = verifications[0]?.state === 'DONE';
    wrong += failed.length + differing.length + (last ? 0 : 1);
    for (const { version } of failed) print(`${name}: build ${version} failed: ${lastError ?? ''}`);
    for (const { report } of differing) print(`${name}: differs from the log: ${JSON.stringify(report)}`);
    if (!last) print(`${name}: could not be verified`);
  }
  return wrong;
}
