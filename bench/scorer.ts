/**
 * Bench `scorer`: what the hub makes of HL7 v2 messages against what other converters expect of the same messages, fact by fact.
 * `--misses [resource type]` prints what is missed, the most frequent first.
 */
import { compare, type Comparison } from './scorer/compare.js';
import { factSetsOf } from './scorer/ours.js';
import { cases, guidePaths, type Case } from './scorer/peers.js';
import type { Figures } from './support.js';

interface Scored {
  readonly one: Case;
  readonly comparison: Comparison;
}

class Count {
  matched = 0;
  missed = 0;
  extra = 0;

  get recall(): number {
    return this.matched / Math.max(1, this.matched + this.missed);
  }

  get precision(): number {
    return this.matched / Math.max(1, this.matched + this.extra);
  }
}

export function run(args: readonly string[] = []): Figures {
  const scored = cases().flatMap((one) =>
    compare(one.expected, factSetsOf(one.message).sets).map((comparison): Scored => ({ one, comparison })),
  );
  const agreed = agreement();
  const groups = new Map<string, Count>();
  const count = (group: string, { matched, missed, extra }: Comparison): void => {
    const so = groups.get(group) ?? new Count();
    so.matched += matched.length;
    so.missed += missed.length;
    so.extra += extra.length;
    groups.set(group, so);
  };
  for (const { one, comparison } of scored) {
    const { type } = comparison;
    count(`peer ${one.peer}`, comparison);
    count(`message ${one.type}`, comparison);
    count(`resource ${type}`, comparison);
    const both = {
      ...comparison,
      matched: comparison.matched.filter(({ path }) => agreed(type, path)),
      missed: comparison.missed.filter(({ path }) => agreed(type, path)),
    };
    count(`agreed ${type}`, both);
    count('agreed', both);
  }
  if (args[0] === '--misses') printMisses(scored, agreed, args[1]);
  const figures: Figures = {};
  for (const [group, found] of [...groups].sort(([left], [right]) => (left < right ? -1 : 1))) {
    figures[`${group} recall`] = {
      values: [found.recall],
      unit: `of ${found.matched + found.missed}`,
      goal: group === 'agreed' ? '≥ 0.95' : '',
    };
    if (!group.startsWith('agreed'))
      figures[`${group} precision`] = {
        values: [found.precision],
        unit: `of ${found.matched + found.extra}`,
        goal: '',
      };
  }
  return figures;
}

/** Whether at least two of the peers (the guide's maps being one) write an element. */
function agreement(): (type: string, path: string) => boolean {
  const guide = guidePaths();
  const writers = new Map<string, Set<string>>();
  for (const one of cases())
    for (const { type, facts } of one.expected)
      for (const { path } of facts.values()) {
        const name = `${type}.${path}`;
        writers.set(name, (writers.get(name) ?? new Set()).add(one.peer));
      }
  return (type, path) => {
    const peers = writers.get(`${type}.${path}`)?.size ?? 0;
    return peers + (inGuide(guide.get(type), path) ? 1 : 0) >= 2;
  };
}

function inGuide(paths: ReadonlySet<string> | undefined, path: string): boolean {
  if (paths === undefined) return false;
  // An element that is an extension is mapped only where the guide maps that extension.
  const extension = path.lastIndexOf('extension(');
  const parts = path.split(/[.→]/);
  for (let length = 1; length <= parts.length; length += 1)
    if (paths.has(parts.slice(0, length).join('.')) && parts.slice(0, length).join('.').length > extension) return true;
  return false;
}

function printMisses(scored: readonly Scored[], agreed: (type: string, path: string) => boolean, only?: string): void {
  const misses = new Map<string, { count: number; examples: string[] }>();
  for (const { one, comparison } of scored) {
    if (only !== undefined && comparison.type !== only) continue;
    for (const { path, value } of comparison.missed) {
      if (!agreed(comparison.type, path)) continue;
      const name = `${comparison.type}.${path}`;
      const so = misses.get(name) ?? { count: 0, examples: [] };
      so.count += 1;
      if (so.examples.length < 3) so.examples.push(`${one.name.split('/').at(-1)}: ${value.slice(0, 60)}`);
      misses.set(name, so);
    }
  }
  for (const [name, { count, examples }] of [...misses].sort((a, b) => b[1].count - a[1].count).slice(0, 120))
    console.info(`${String(count).padStart(5)} ${name}   ${examples.join(' | ')}`);
}
