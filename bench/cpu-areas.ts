/** Where this process spends its CPU while something runs: V8's sampling profiler, its samples counted by the part of the hub that they fall into. */
import { Session } from 'node:inspector/promises';
import type { Profiler } from 'node:inspector';

/** Parts of the hub by where their code is; the first that fits counts. */
const AREAS: readonly (readonly [area: string, of: RegExp])[] = [
  ['readingLog', /\/src\/log\//],
  ['openingBodies', /\/src\/sealing\//],
  ['parsing', /\/src\/inbound\//],
  ['mapping', /\/src\/(mapping|time)\//],
  ['copyEncoding', /\/src\/database\/binary-copy/],
  ['master', /\/projections\/master\//],
  ['search', /\/projections\/search\//],
  ['anonymized', /\/projections\/anonymized\//],
  ['volume', /\/projections\/volume\//],
  ['text', /\/src\/text\//],
  ['runtime', /\/src\/projecting\//],
];
const SAMPLE_US = 500;

export interface CpuAreas {
  /** Milliseconds of busy time by area; `collecting` is V8's collector, `driver` what belongs to no code of the hub's: pg, sockets, Node. */
  readonly ms: Readonly<Record<string, number>>;
  /** The main thread had nothing to do, in milliseconds. */
  readonly idleMs: number;
}

/** Runs the work under the profiler. */
export async function cpuAreas(work: () => Promise<unknown>): Promise<CpuAreas> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    await session.post('Profiler.start');
    await work();
    const { profile } = await session.post('Profiler.stop');
    return areasOf(profile);
  } finally {
    session.disconnect();
  }
}

function areasOf(profile: Profiler.Profile): CpuAreas {
  const parents = new Map<number, Profiler.ProfileNode>();
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  for (const node of profile.nodes) for (const child of node.children ?? []) parents.set(child, node);
  const areas = new Map<number, string>();
  /** Of the nearest frame that is the hub's. */
  const areaOf = (node: Profiler.ProfileNode): string => {
    const known = areas.get(node.id);
    if (known !== undefined) return known;
    const { url, functionName } = node.callFrame;
    const own = AREAS.find(([, of]) => of.test(url))?.[0];
    const parent = parents.get(node.id);
    const area =
      functionName === '(garbage collector)'
        ? 'collecting'
        : functionName === '(idle)'
          ? 'idle'
          : (own ?? (parent === undefined ? 'driver' : areaOf(parent)));
    areas.set(node.id, area);
    return area;
  };
  const ms: Record<string, number> = {};
  let idleMs = 0;
  for (const [index, id] of (profile.samples ?? []).entries()) {
    const node = nodes.get(id);
    const spent = (profile.timeDeltas?.[index] ?? 0) / 1_000;
    const area = node === undefined ? 'driver' : areaOf(node);
    if (area === 'idle') idleMs += spent;
    else ms[area] = (ms[area] ?? 0) + spent;
  }
  return { ms, idleMs };
}
