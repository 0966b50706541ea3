/**
 * Bench `scorer`: what the hub makes of HL7 v2 messages against what other converters expect of the same messages, fact by fact.
 * `--misses [resource type]` prints what is missed of what is agreed, the most frequent first.
 */
import { agreementFor, type Agreed } from './scorer/agreement.js';
import { compare, type Comparison } from './scorer/compare.js';
import { exceptionFor } from './scorer/exceptions.js';
import type { Fact } from './scorer/flatten.js';
import { factSetsOf, kindsOf } from './scorer/ours.js';
import { cases, countedCases, guideRows, realMessages, type Case } from './scorer/peers.js';
import type { Figures } from './support.js';

interface Scored {
  readonly one: Case;
  readonly agreed: Agreed;
  readonly comparison: Comparison;
  /** Missed, and by which rule that is right. */
  readonly excepted: readonly Fact[];
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
  const scored = scoredCases();
  const groups = new Map<string, Count>();
  let excepted = 0;
  const count = (group: string, { matched, missed, extra }: Comparison): void => {
    const so = groups.get(group) ?? new Count();
    so.matched += matched.length;
    so.missed += missed.length;
    so.extra += extra.length;
    groups.set(group, so);
  };
  for (const one of scored) {
    const { comparison, agreed } = one;
    const { type } = comparison;
    excepted += one.excepted.length;
    count(`peer ${one.one.peer}`, comparison);
    count(`message ${one.one.type}`, comparison);
    count(`resource ${type}`, comparison);
    const both: Comparison = {
      ...comparison,
      matched: comparison.matched.filter((fact) => agreed(type, fact)),
      missed: comparison.missed.filter((fact) => agreed(type, fact)),
    };
    count('agreed', both);
    count(`agreed resource ${type}`, both);
    count(`agreed message ${one.one.type}`, both);
  }
  if (args[0] === '--misses') printMisses(scored, args[1]);
  const figures: Figures = {};
  for (const [group, found] of [...groups].sort(([left], [right]) => (left < right ? -1 : 1))) {
    if (group.startsWith('agreed') && found.matched + found.missed === 0) continue;
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
  figures['left out with a reason'] = { values: [excepted], unit: 'facts', goal: '' };
  Object.assign(figures, countFigures(), kindFigures());
  return figures;
}

function scoredCases(): Scored[] {
  const guide = guideRows();
  return cases().flatMap((one) => {
    const agreed = agreementFor(guide, one.message);
    return compare(one.expected, factSetsOf(one.message).sets).map((comparison): Scored => {
      const excepted = comparison.missed.filter((fact) => exceptionFor(one, comparison, fact) !== undefined);
      const missed = comparison.missed.filter((fact) => !excepted.includes(fact));
      return { one, agreed, comparison: { ...comparison, missed }, excepted };
    });
  });
}

/** A peer that states only how many resources of each type it makes: how many of them the hub makes too. */
function countFigures(): Figures {
  const count = new Count();
  for (const { message, counts } of countedCases()) {
    const { sets } = factSetsOf(message);
    for (const [type, expected] of Object.entries(counts)) {
      const made = sets.filter((set) => set.type === type).length;
      count.matched += Math.min(made, expected);
      count.missed += Math.max(0, expected - made);
    }
  }
  return {
    'peer linuxforhealth resources recall': {
      values: [count.recall],
      unit: `of ${count.matched + count.missed}`,
      goal: '',
    },
  };
}

/** Facts by kind out of every message of real senders that is at hand; one that the mapping threw at would end the bench. */
function kindFigures(): Figures {
  const kinds = new Map<string, number>();
  const messages = realMessages();
  for (const message of messages) for (const kind of kindsOf(message)) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  return {
    'messages of real senders': { values: [messages.length], unit: 'messages', goal: '' },
    ...Object.fromEntries(
      [...kinds].sort().map(([kind, facts]) => [`facts ${kind}`, { values: [facts], unit: 'facts', goal: '' }]),
    ),
  };
}

function printMisses(scored: readonly Scored[], only?: string): void {
  const misses = new Map<string, { count: number; examples: string[] }>();
  for (const { one, comparison, agreed } of scored) {
    if (only !== undefined && comparison.type !== only) continue;
    for (const fact of comparison.missed) {
      if (!agreed(comparison.type, fact)) continue;
      const name = `${comparison.type}.${fact.path}`;
      const so = misses.get(name) ?? { count: 0, examples: [] };
      so.count += 1;
      if (so.examples.length < 4) so.examples.push(`${one.name.split('/').at(-1)}: ${fact.value.slice(0, 50)}`);
      misses.set(name, so);
    }
  }
  for (const [name, { count, examples }] of [...misses].sort((a, b) => b[1].count - a[1].count).slice(0, 120))
    console.info(`${String(count).padStart(5)} ${name}   ${examples.join(' | ')}`);
}
