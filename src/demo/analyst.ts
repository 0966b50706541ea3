/** The analyst: a count, without anybody's identity. */
import { Findings, queryCommandLine, type AskedQuestion, type Asking } from './question.js';

/** The anonymized graph counts nothing smaller (DESIGN: no aggregate on fewer than 11 people). */
const SMALLEST_COUNT = 11;

interface Population {
  readonly at: {
    readonly population: {
      readonly cells: readonly {
        readonly key: readonly { readonly value: string | null }[];
        readonly count: number | null;
      }[];
      readonly suppressedCells: number;
      readonly total: number | null;
    };
  };
}

export async function askAsAnalyst({ hub, day, flags }: Asking): Promise<AskedQuestion> {
  const findings = new Findings();
  const query = '{ at { population(by: [FAVORITE_COLOR]) { cells { key { value } count } suppressedCells total } } }';
  const { population } = (await hub.data<Population>('anonymized', query)).at;
  const counted = new Map(population.cells.map(({ key, count }) => [key[0]?.value ?? '', count]));
  for (const [color, people] of day.favoriteColors) {
    const shown = counted.get(color) ?? null;
    if (people < SMALLEST_COUNT)
      findings.expect(shown === null, `${color} is counted although it has fewer than ${SMALLEST_COUNT} people`);
    else if (shown !== null) findings.expect(shown === people, `${color}: ${shown} people, not ${people}`);
  }
  const shownColors = [...day.favoriteColors.keys()].filter((color) => (counted.get(color) ?? null) !== null);
  findings.expect(shownColors.length > 0, 'no count is shown');
  return {
    who: 'analyst',
    question: 'How many people have which favorite color?',
    answer: [
      population.cells
        .filter(({ count }) => count !== null)
        .sort((one, other) => (other.count ?? 0) - (one.count ?? 0))
        .map(({ key, count }) => `${key[0]?.value ?? 'not said'} ${count}`)
        .join(', '),
      `suppressed: ${population.suppressedCells} (fewer than ${SMALLEST_COUNT} people, or derivable from the others)`,
    ],
    again: queryCommandLine(query, 'analyst', flags),
    wrong: findings.wrong,
  };
}
