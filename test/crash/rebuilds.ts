/** Rebuilds in the middle of it all, and what the projections themselves say of their stores in the end. */
import { graphql } from '../support/hub-process.js';

interface State {
  readonly name: string;
  readonly state: string;
  readonly lastError: string | null;
  readonly builds: readonly { readonly version: number; readonly state: string }[];
  readonly verifications: readonly {
    readonly id: string;
    readonly state: string;
    readonly equal: boolean | null;
    readonly progress: number;
    readonly error: string | null;
    readonly report: unknown;
  }[];
}

const STATES =
  '{ projections { name state lastError builds { version state } verifications(first: 20) { id state equal progress error report } } }';

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

/** As slow as a machine may be: a step of a verification that says nothing of its progress may take this long. */
const STANDSTILL_MS = 900_000;
const LOOK_MS = 250;

/**
 * Waits until no rebuild is under way, then has every projection held against the log. What takes long is waited for as long as it gets on.
 * @returns how many builds and verifications, of the rebuilds on the way and of the end, were not what the log says
 * @throws where nothing gets on any more
 */
export async function verifyEverything(http: string, print: (line: string) => void): Promise<number> {
  const settled = await untilSettled(http, (states) =>
    states.every(({ builds }) => builds.every(({ state }) => state !== 'BUILDING' && state !== 'BUILT')),
  );
  for (const { name } of settled) {
    await graphql(http, 'mutation ($name: String!) { verifyProjection(name: $name) { name } }', { name });
  }
  const begun = performance.now();
  const done = await untilSettled(http, (states) =>
    states.every(({ name, verifications }) => {
      const before = settled.find((state) => state.name === name)?.verifications ?? [];
      const fresh = verifications.find(({ id }) => before.every((one) => one.id !== id));
      return fresh?.state === 'DONE' || fresh?.state === 'FAILED';
    }),
  );
  print(`held against the log in ${Math.round((performance.now() - begun) / 1_000)} s`);
  let wrong = 0;
  for (const { name, builds, verifications, lastError } of done) {
    const failed = builds.filter(({ state }) => state === 'FAILED');
    const differing = verifications.filter(({ state, equal }) => state === 'DONE' && equal !== true);
    const [last] = verifications;
    const verified = last?.state === 'DONE';
    wrong += failed.length + differing.length + (verified ? 0 : 1);
    for (const { version } of failed) print(`${name}: build ${version} failed: ${lastError ?? ''}`);
    for (const { report } of differing) print(`${name}: differs from the log: ${JSON.stringify(report)}`);
    if (!verified) print(`${name}: could not be verified: ${last?.error ?? ''}`);
  }
  return wrong;
}

/** Asks until the states are as wanted. A slow machine is waited for, one that stands still is not: the time begins anew whenever anything changes. */
async function untilSettled(http: string, wanted: (states: readonly State[]) => boolean): Promise<readonly State[]> {
  let last: string | undefined;
  let changedAt = performance.now();
  let problem: unknown;
  for (;;) {
    try {
      const states = await statesOf(http);
      if (wanted(states)) return states;
      problem = undefined;
      const now = JSON.stringify(states.map(({ verifications, ...state }) => [state, verifications.map(briefly)]));
      if (now !== last) changedAt = performance.now();
      last = now;
    } catch (error) {
      problem = error;
    }
    if (performance.now() - changedAt > STANDSTILL_MS)
      throw new Error(`nothing changed in ${STANDSTILL_MS} ms; last state ${last}`, { cause: problem });
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function briefly({ report: _report, ...verification }: State['verifications'][number]): unknown {
  return verification;
}
