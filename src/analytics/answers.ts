/** What the anonymized graph answers, apart from GraphQL: bases, rows, counts. */
import DataLoader from 'dataloader';
import type pg from 'pg';
import { now } from '../time/clock.js';
import type { Instant } from '../time/valid-time.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import type { Budgets } from './budget.js';
import { BasisTokens, monthOf, yearOf, type AnalyticsState } from './basis.js';
import { countShown, countTrue, NO, type CountedTable } from './counts.js';
import { discreteLaplace, listedFrom, THOUSANDTHS } from './noise.js';
import { MANY_DIMENSIONS, SINGLE_DIMENSIONS } from './packing.js';
import { releasedAt, type ReleaseEvery, type RowRelease } from './release-times.js';
import { basisName, tableName, type AnsweredTable, type Decided, type Releases } from './releases.js';
import {
  isFiltering,
  matching,
  rowFilter,
  SnapshotRows,
  type DatedRow,
  type RowFilter,
  type ShownSubject,
  type SubjectFilter,
} from './rows.js';
import {
  FEWEST,
  type CountedCells,
  type DatedKind,
  type Snapshot,
  type SnapshotPoint,
  type Snapshots,
} from './snapshots.js';
import { compareKeys, Suppression, type Earlier, type Key } from './suppression.js';

/** A client's mistake, with a stable code. The message quotes nothing. */
export class AnalyticsInputError extends Error {
  constructor(
    readonly code: 'BAD_USER_INPUT' | 'BEYOND_WATERMARK' | 'QUERY_TOO_COMPLEX',
    message: string,
  ) {
    super(message);
  }
}

export interface AskedBasis {
  readonly knownAt?: string | null;
  readonly validAt?: string | null;
  readonly basis?: string | null;
}

export interface ShownBasis {
  readonly token: string;
  readonly knownAt: string;
  readonly validAt: string;
}

export interface AnsweredPopulation {
  readonly cells: readonly { readonly key: readonly (string | undefined)[]; readonly count: number | null }[];
  readonly suppressedCells: number;
  readonly total: number | null;
  /** Of counts with noise. */
  readonly privacy?: SpentPrivacy;
}

export interface SpentPrivacy {
  readonly epsilon: number;
  /** Counts below are not listed. */
  readonly listedFrom: number;
  readonly budgetLeft: number;
}

export interface AnswersOptions {
  /** Connections under the role `anamnesis_analyst`: everything that is shown comes through them. */
  readonly analyst: pg.Pool;
  /** Makes the snapshots; connections of the hub. */
  readonly snapshots: Snapshots;
  readonly releases: Releases;
  readonly hashes: Pick<KeyedHashes, 'hash'>;
  readonly releaseEvery?: ReleaseEvery;
  readonly rowRelease?: RowRelease;
  /** Counts have noise, and analysts budgets; absent: exact ones with suppression. */
  readonly budgets?: Budgets;
  /** This moment, for tests. */
  readonly now?: () => Instant;
}

/** Two dimensions of which people may have several values: more pairs than that say little and cost much. */
const MOST_MANY = 2;
/** Answers to whole populations kept in memory: the same basis gives the same. */
const KEPT_ANSWERS = 200;

export class AnonymizedAnswers {
  readonly rows: SnapshotRows;
  private readonly tokens: BasisTokens;
  private readonly populations = new Map<string, Promise<AnsweredPopulation>>();

  constructor(readonly options: AnswersOptions) {
    this.tokens = new BasisTokens(options.hashes);
    this.rows = new SnapshotRows(options.analyst);
  }

  /**
   * The basis a question stands on: knownAt floors to its month, validAt alone is best knowledge today, knownAt alone the state of then.
   * @param analyst whose privacy budget the counts are taken from, where there are budgets
   * @throws AnalyticsInputError, UnknownBasisError, NotProjectedError
   */
  async at(
    asked: AskedBasis,
    analyst = '',
  ): Promise<{ readonly snapshot: AnonymizedState; readonly basis: ShownBasis }> {
    const state = await this.stateOf(asked);
    return {
      snapshot: new AnonymizedState(this, state, analyst),
      basis: { token: this.tokens.seal(state), ...daysOf(state) },
    };
  }

  /** Bases that whoever asks next is likely to stand on, and that stay as they are: the month that has begun, and the last step of `now` where it moves in steps. */
  released(): readonly AskedBasis[] {
    const month = { knownAt: (this.options.now?.() ?? now()).slice(0, 10) };
    return (this.options.releaseEvery ?? 'change') === 'change' ? [month] : [month, {}];
  }

  private async stateOf({ knownAt, validAt, basis }: AskedBasis): Promise<AnalyticsState> {
    const moment = this.options.now?.() ?? now();
    const today = moment.slice(0, 10);
    if (isText(basis)) {
      if (isText(knownAt) || isText(validAt)) throw new AnalyticsInputError('BAD_USER_INPUT', 'a basis stands alone');
      return this.tokens.open(basis);
    }
    if (isText(knownAt)) {
      if (knownAt > today) throw new AnalyticsInputError('BEYOND_WATERMARK', `known until ${today}`);
      const month = monthOf(knownAt);
      return { known: { at: startOf(month) }, valid: { on: isText(validAt) ? validAt : month } };
    }
    const every = this.options.releaseEvery ?? 'change';
    if (every !== 'change') {
      const at = releasedAt(moment, every);
      return { known: { at }, valid: isText(validAt) ? { on: validAt } : { now: at.slice(0, 10) } };
    }
    const known = { position: await this.options.snapshots.head(), on: today };
    return { known, valid: isText(validAt) ? { on: validAt } : { now: today } };
  }

  /**
   * Adds one of the months that have begun to those that are counted at once.
   * @returns whether there are more
   * @throws NotProjectedError
   */
  addMonth(): Promise<boolean> {
    return this.options.snapshots.addMonth(startOf(monthOf(this.options.now?.() ?? now())));
  }

  /** @internal */
  point({ known, valid }: AnalyticsState, grain: 'month' | 'year'): SnapshotPoint {
    const at = startOf('now' in valid ? monthOf(valid.now) : grain === 'month' ? monthOf(valid.on) : yearOf(valid.on));
    const knownAt = 'at' in known ? known.at : dayAfter(known.on);
    const validAt = 'now' in valid ? dayAfter(valid.now) : at;
    const both = knownAt < validAt ? knownAt : validAt;
    const released = this.options.rowRelease === 'immediate' ? both : startOf(yearOf(both));
    const point = 'at' in known ? { at: known.at } : { position: known.position };
    const knownYear = Number(('at' in known ? known.at : known.on).slice(0, 4));
    return { known: point, knownYear, valid: { at, now: 'now' in valid }, released };
  }

  /** @internal */
  remembered(key: string, answer: () => Promise<AnsweredPopulation>): Promise<AnsweredPopulation> {
    const known = this.populations.get(key);
    if (known !== undefined) return known;
    const made = answer();
    this.populations.set(key, made);
    made.catch(() => this.populations.delete(key));
    const oldest = this.populations.keys().next();
    if (this.populations.size > KEPT_ANSWERS && oldest.done !== true) this.populations.delete(oldest.value);
    return made;
  }
}

const ATTEMPTS = 3;

/** Questions to one basis. */
export class AnonymizedState {
  private readonly loaders = new Map<string, DataLoader<string, readonly DatedRow[]>>();

  constructor(
    private readonly answers: AnonymizedAnswers,
    private readonly state: AnalyticsState,
    private readonly analyst: string,
  ) {}

  /** The snapshot of the rows, for an export or a report. */
  rows(dated: boolean): Promise<Snapshot> {
    const { snapshots } = this.answers.options;
    const point = this.answers.point(this.state, 'year');
    return dated ? snapshots.datedRows(point) : snapshots.rows(point);
  }

  /** What counts are made of. */
  cells(): Promise<CountedCells> {
    return this.answers.options.snapshots.cells(this.answers.point(this.state, 'month'));
  }

  subject(id: string): Promise<ShownSubject | null> {
    return this.reading(this.answers.point(this.state, 'year'), false, (snapshot) =>
      this.answers.rows.one(snapshot, id),
    );
  }

  /** Rows that match, behind the one whose id is `after`. */
  subjects(
    filter: SubjectFilter | null | undefined,
    after: string | undefined,
    most: number,
  ): Promise<readonly ShownSubject[]> {
    const point = this.answers.point(this.state, 'year');
    return this.reading(point, rowFilter(filter, 0).dated, (snapshot) =>
      this.answers.rows.page(snapshot, rowFilter(filter, snapshot), after, most),
    );
  }

  /** Dated rows of a subject; asked for many subjects at once, they are read at once. */
  dated(subject: string, kind: DatedKind, offset: number, most: number): Promise<readonly DatedRow[]> {
    const name = `${kind}|${offset}|${most}`;
    let loader = this.loaders.get(name);
    if (loader === undefined) {
      const point = this.answers.point(this.state, 'year');
      loader = new DataLoader((subjects) =>
        this.reading(point, true, async (snapshot) => {
          const found = await this.answers.rows.dated(snapshot, kind, subjects, offset, most);
          return subjects.map((one) => found.get(one) ?? []);
        }),
      );
      this.loaders.set(name, loader);
    }
    return loader.load(subject);
  }

  /**
   * Counts by dimensions. With a filter they are counts of what the matching rows show, and only where what the filter leaves out is nobody, or
   * enough: so no two filters of which one asks for less give a smaller group.
   * @throws AnalyticsInputError, TooManyCellsError, PrivacyBudgetError
   */
  async population(by: readonly string[], filter: SubjectFilter | null | undefined): Promise<AnsweredPopulation> {
    if (new Set(by).size !== by.length)
      throw new AnalyticsInputError('BAD_USER_INPUT', 'a dimension stands there twice');
    const singles = Object.keys(SINGLE_DIMENSIONS).filter((name) => by.includes(name));
    const manies = Object.keys(MANY_DIMENSIONS).filter((name) => by.includes(name));
    if (manies.length > MOST_MANY) throw new AnalyticsInputError('QUERY_TOO_COMPLEX', 'ask by fewer dimensions');
    const place = [...singles, ...manies];
    const erasures = await this.answers.options.snapshots.erasures();
    const { budgets } = this.answers.options;
    if (budgets !== undefined && isFiltering(filter))
      throw new AnalyticsInputError('BAD_USER_INPUT', 'counts with noise take no filter: ask by its dimensions');
    const counted = isFiltering(filter)
      ? await this.filtered(singles, manies, filter)
      : budgets !== undefined
        ? await this.noisy(budgets, erasures, singles, manies)
        : await this.answers.remembered(
            JSON.stringify([erasures, this.answers.point(this.state, 'month'), place]),
            () => this.whole(this.state, erasures, singles, manies),
          );
    const order = by.map((name) => place.indexOf(name));
    const cells = counted.cells
      .map(({ key, count }) => ({ key: order.map((at) => key[at]), count }))
      .sort((x, y) => compareKeys(x.key, y.key));
    return { ...counted, cells };
  }

  /**
   * Counts with noise. A person is in one cell of each table, so a table costs epsilon: one for the dimensions of which everybody has one value, and one for each
   * value (or pair of values) of those of which people have several, whether it occurs or not; and one for the total.
   */
  private async noisy(
    budgets: Budgets,
    erasures: string,
    singles: readonly string[],
    manies: readonly string[],
  ): Promise<AnsweredPopulation> {
    const tables = await this.counted(this.state, singles, manies);
    const basis = basisName(JSON.stringify(this.answers.point(this.state, 'month')), erasures);
    const question = tableName([...singles, ...manies]);
    const { epsilon } = budgets.privacy;
    const values = manies.reduce((product, name) => product * MANY_DIMENSIONS[name]!.values.length, 1);
    const budgetLeft = await budgets.spend(this.analyst, basis, question, epsilon * (1 + values));
    const least = listedFrom(epsilon, FEWEST);
    const noised = (count: number, ...cell: (string | undefined)[]): number | null => {
      const key = this.answers.options.hashes.hash('noise', basis, question, JSON.stringify(cell));
      const shown = count + discreteLaplace(key, epsilon);
      return shown < least ? null : shown;
    };
    const cells = tables.flatMap(({ has, groups }) =>
      groups
        .filter(({ key, count }) => count > 0 && !key.slice(singles.length).includes(NO))
        .map(({ key, count }) => {
          const shown = [...key.slice(0, singles.length), ...has.map(({ value }) => value)];
          return { key: shown, count: noised(count, 'cell', ...shown) };
        })
        // What is too few is not listed, for the list itself would say that it is there.
        .filter(({ count }) => count !== null),
    );
    const everybody = tables[0]?.groups.reduce((sum, { count }) => sum + count, 0) ?? 0;
    return {
      cells,
      suppressedCells: 0,
      total: noised(everybody, 'total'),
      privacy: { epsilon: epsilon / THOUSANDTHS, listedFrom: least, budgetLeft },
    };
  }

  private async whole(
    state: AnalyticsState,
    erasures: string,
    singles: readonly string[],
    manies: readonly string[],
  ): Promise<AnsweredPopulation> {
    const tables = await this.counted(state, singles, manies);
    const names = [...new Set(tables.flatMap((table) => tableNames(namesOf(table, singles))))];
    const basis = basisName(JSON.stringify(this.answers.point(state, 'month')), erasures);
    const { known, valid } = state;
    const question = [...singles, ...manies];
    const { releases } = this.answers.options;
    let answer: AnsweredPopulation | undefined;
    if ('position' in known && 'now' in valid) {
      answer = await releases.decide({ basis, question }, () => together(tables, singles));
    } else {
      const present =
        'position' in known
          ? together(await this.counted({ known, valid: { now: known.on } }, singles, manies), singles).answered.map(
              (table) => ({ ...table, basis: 'now' }),
            )
          : [];
      const knowledge = 'position' in known ? known.position : 'released';
      answer = await releases.decide({ basis, question, audit: { knowledge, names, present } }, (earlier) =>
        together(tables, singles, earlier),
      );
    }
    if (answer !== undefined) return answer;
    // That must not stand beside others: how many cells there are, and everybody, as the question for everybody alone is answered.
    const { total } = await this.whole(state, erasures, [], []);
    return { cells: [], suppressedCells: together(tables, singles).value.cells.length, total };
  }

  private counted(
    state: AnalyticsState,
    singles: readonly string[],
    manies: readonly string[],
  ): Promise<CountedTable[]> {
    const { snapshots, analyst } = this.answers.options;
    return again(async () =>
      countTrue(analyst, await snapshots.cells(this.answers.point(state, 'month')), singles, manies),
    );
  }

  private async filtered(
    singles: readonly string[],
    manies: readonly string[],
    filter: SubjectFilter,
  ): Promise<AnsweredPopulation> {
    const point = this.answers.point(this.state, 'month');
    const dated = rowFilter(filter, 0).dated || manies.length > 0;
    return this.reading(point, dated, async (snapshot) => {
      const asked = rowFilter(filter, snapshot);
      if (!(await this.leavesEnough(snapshot, asked))) return { cells: [], suppressedCells: 0, total: null };
      return together(await countShown(this.answers.options.analyst, snapshot, singles, manies, asked), singles).value;
    });
  }

  /** Whether enough match, and of those who match all but some of what is asked, nobody or enough are left out. */
  private async leavesEnough(snapshot: number, { conditions, values }: RowFilter): Promise<boolean> {
    const subsets = Array.from({ length: 2 ** conditions.length }, (_, chosen) =>
      conditions.filter((_condition, place) => (chosen >> place) & 1),
    );
    const { rows } = await this.answers.options.analyst.query<{ counts: bigint[] }>(
      `select array[${subsets.map((chosen) => `count(*) filter (where ${['true', ...chosen].join(' and ')})`).join(', ')}] as counts
         from ${matching(snapshot, [])}`,
      [...values],
    );
    const counts = (rows[0]?.counts ?? []).map(Number);
    const match = counts.at(-1) ?? 0;
    return match >= FEWEST && counts.every((count) => count === match || count - match >= FEWEST);
  }

  private reading<T>(point: SnapshotPoint, dated: boolean, work: (snapshot: number) => Promise<T>): Promise<T> {
    const { snapshots } = this.answers.options;
    return again(async () => work((await (dated ? snapshots.datedRows(point) : snapshots.rows(point))).id));
  }
}

/** A snapshot is dropped while somebody reads it: it is made again. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if ((error as { code?: string }).code !== '42P01' || attempt === ATTEMPTS) throw error;
    }
  }
}

function namesOf({ has }: CountedTable, singles: readonly string[]): string[] {
  return [...singles, ...has.map(({ dimension, value }) => `${dimension}=${value}`)];
}

/** Names of a table and of all its margins. */
function tableNames(names: readonly string[]): string[] {
  return Array.from({ length: 2 ** names.length }, (_, chosen) =>
    tableName(names.filter((_name, place) => (chosen >> place) & 1)),
  );
}

/** One answer of all tables: of those by whether people have a value, the cells of the people who have it. */
function together(
  tables: readonly CountedTable[],
  singles: readonly string[],
  earlier?: Earlier,
): Decided<AnsweredPopulation> {
  const cells: { key: Key; count: number | null }[] = [];
  const answered = new Map<string, Omit<AnsweredTable, 'basis'>>();
  let suppressedCells = 0;
  let total: number | null = null;
  for (const table of tables) {
    const suppression = new Suppression(namesOf(table, singles), table.groups, earlier);
    const counted = suppression.count();
    total = counted.total;
    const values = table.has.map(({ value }) => value);
    const holders = counted.cells.filter(({ key }) => !key.slice(singles.length).includes(NO));
    for (const { key, count } of holders) cells.push({ key: [...key.slice(0, singles.length), ...values], count });
    suppressedCells +=
      counted.cells.length === 0 ? counted.suppressedCells : holders.filter(({ count }) => count === null).length;
    for (const [dimensions, answer] of suppression.answered())
      answered.set(tableName(dimensions), { dimensions: tableName(dimensions), answer });
  }
  const listed = cells.length > 0 || suppressedCells === 0;
  return { value: { cells, suppressedCells, total }, answered: [...answered.values()], listed };
}

function daysOf({ known, valid }: AnalyticsState): { readonly knownAt: string; readonly validAt: string } {
  return {
    knownAt: 'at' in known ? known.at.slice(0, 10) : known.on,
    validAt: 'now' in valid ? valid.now : monthOf(valid.on),
  };
}

function startOf(date: string): Instant {
  return `${date}T00:00:00.000000Z`;
}

function dayAfter(date: string): Instant {
  return startOf(new Date(Date.parse(`${date}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10));
}

function isText(value: string | null | undefined): value is string {
  return typeof value === 'string';
}
