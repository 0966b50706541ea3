/** What the anonymized graph answers, apart from GraphQL: bases, rows, counts. */
import { now } from '../time/clock.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import { BasisTokens, monthOf, yearOf, type AnalyticsState } from './basis.js';
import {
  filtered,
  isFiltering,
  OLDEST_AGE,
  shownSubjects,
  type ShownSubject,
  type SubjectFilter,
  type SubjectState,
} from './disclosure.js';
import type { SnapshotPoint, SnapshotReader } from './snapshot.js';
import { Suppression, type CountedPopulation, type Key } from './suppression.js';

/** A client's mistake, with a stable code. The message quotes nothing. */
export class AnalyticsInputError extends Error {
  constructor(
    readonly code: 'BAD_USER_INPUT' | 'BEYOND_WATERMARK',
    message: string,
  ) {
    super(message);
  }
}

export const DIMENSIONS = ['AGE_BAND', 'SEX', 'ZIP3', 'RACE', 'FAVORITE_COLOR'] as const;
export type CountedDimension = (typeof DIMENSIONS)[number];
/** Dimensions that nothing is declared for yet: they have no values, so no cells. */
const UNDECLARED = ['ENCOUNTER_CLASS', 'CONDITION_GROUP'];

/** A row with what it is sorted by: a keyed hash of its id, so that the order tells nothing of who came when. */
export interface ListedSubject {
  readonly order: string;
  readonly row: ShownSubject;
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
}

/** Everybody at one basis and one grain, read once. */
interface View {
  readonly listed: readonly ListedSubject[];
  readonly byId: ReadonlyMap<string, ShownSubject>;
  readonly suppression: Suppression;
}

export interface AnswersOptions {
  readonly reader: Pick<SnapshotReader, 'head' | 'subjects'>;
  readonly hashes: Pick<KeyedHashes, 'hash'>;
  /** Today in UTC, `YYYY-MM-DD`. */
  readonly today?: () => string;
}

/** Views kept in memory. Each holds every subject of a basis. */
const KEPT_VIEWS = 4;

export class AnonymizedAnswers {
  private readonly tokens: BasisTokens;
  private readonly views = new Map<string, Promise<View>>();

  constructor(private readonly options: AnswersOptions) {
    this.tokens = new BasisTokens(options.hashes);
  }

  /**
   * The basis a question stands on: knownAt floors to its month, validAt alone is best knowledge today, knownAt alone the state of then.
   * @throws AnalyticsInputError, UnknownBasisError, NotProjectedError
   */
  async at(asked: AskedBasis): Promise<{ readonly snapshot: AnonymizedState; readonly basis: ShownBasis }> {
    const state = await this.stateOf(asked);
    const token = this.tokens.seal(state);
    const known = 'month' in state.known ? state.known.month : state.known.on;
    const valid = 'now' in state.valid ? state.valid.now : monthOf(state.valid.on);
    return { snapshot: new AnonymizedState(this, state), basis: { token, knownAt: known, validAt: valid } };
  }

  private async stateOf({ knownAt, validAt, basis }: AskedBasis): Promise<AnalyticsState> {
    const today = this.options.today?.() ?? now().slice(0, 10);
    if (isText(basis)) {
      if (isText(knownAt) || isText(validAt)) throw new AnalyticsInputError('BAD_USER_INPUT', 'a basis stands alone');
      return this.tokens.open(basis);
    }
    if (isText(knownAt)) {
      if (knownAt > today) throw new AnalyticsInputError('BEYOND_WATERMARK', `known until ${today}`);
      const month = monthOf(knownAt);
      return { known: { month }, valid: { on: isText(validAt) ? validAt : month } };
    }
    const known = { number: await this.options.reader.head(), on: today };
    return { known, valid: isText(validAt) ? { on: validAt } : { now: today } };
  }

  /** @internal */
  view(state: AnalyticsState, grain: 'month' | 'year'): Promise<View> {
    const [point, year] = pointOf(state, grain);
    const key = JSON.stringify([point, year]);
    const known = this.views.get(key);
    if (known !== undefined) {
      this.views.delete(key);
      this.views.set(key, known);
      return known;
    }
    const view = this.read(point, year);
    this.views.set(key, view);
    view.catch(() => this.views.delete(key));
    const oldest = this.views.keys().next();
    if (this.views.size > KEPT_VIEWS && oldest.done !== true) this.views.delete(oldest.value);
    return view;
  }

  private async read(point: SnapshotPoint, year: number): Promise<View> {
    const states = await this.options.reader.subjects(point, year);
    const listed = shownSubjects(states)
      .map((row): ListedSubject => ({
        order: this.options.hashes.hash('analytics.order', row.id).toString('base64url', 0, 12),
        row,
      }))
      .sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
    return {
      listed,
      byId: new Map(listed.map(({ row }) => [row.id, row])),
      suppression: new Suppression(states.map(keyOf)),
    };
  }
}

/** Questions to one basis. */
export class AnonymizedState {
  constructor(
    private readonly answers: AnonymizedAnswers,
    private readonly state: AnalyticsState,
  ) {}

  async subject(id: string): Promise<ShownSubject | null> {
    return (await this.answers.view(this.state, 'year')).byId.get(id) ?? null;
  }

  /** All rows that match, in their order. */
  async subjects(filter: SubjectFilter | null | undefined): Promise<readonly ListedSubject[]> {
    const { listed } = await this.answers.view(this.state, 'year');
    if (!isFiltering(filter)) return listed;
    const found = new Set(
      filtered(
        listed.map(({ row }) => row),
        filter,
      ),
    );
    return listed.filter(({ row }) => found.has(row));
  }

  /**
   * Counts by dimensions. With a filter they are counts of what the matching rows show, which anybody could make from the rows: so the true
   * counts cannot be narrowed down by filtering.
   * @throws AnalyticsInputError, TooManyCellsError
   */
  async population(by: readonly string[], filter: SubjectFilter | null | undefined): Promise<AnsweredPopulation> {
    if (new Set(by).size !== by.length)
      throw new AnalyticsInputError('BAD_USER_INPUT', 'a dimension stands there twice');
    if (by.some((dimension) => UNDECLARED.includes(dimension))) return { cells: [], suppressedCells: 0, total: null };
    const dimensions = by.map((dimension) => DIMENSIONS.indexOf(dimension as CountedDimension));
    const view = await this.answers.view(this.state, 'month');
    const counted: CountedPopulation = isFiltering(filter)
      ? new Suppression(
          filtered(
            view.listed.map(({ row }) => row),
            filter,
          ).map(shownKeyOf),
        ).count(dimensions)
      : view.suppression.count(dimensions);
    return counted;
  }
}

function pointOf({ known, valid }: AnalyticsState, grain: 'month' | 'year'): [SnapshotPoint, number] {
  const knownPoint = 'month' in known ? { month: known.month } : { number: known.number };
  if ('now' in valid)
    return [{ known: knownPoint, valid: { month: monthOf(valid.now), now: true } }, Number(valid.now.slice(0, 4))];
  const month = grain === 'month' ? monthOf(valid.on) : yearOf(valid.on);
  return [{ known: knownPoint, valid: { month, now: false } }, Number(month.slice(0, 4))];
}

const BAND_YEARS = 10;

function bandOf(age: number): string {
  if (age >= OLDEST_AGE) return `${OLDEST_AGE}+`;
  const from = Math.floor(age / BAND_YEARS) * BAND_YEARS;
  return `${from}-${from + BAND_YEARS - 1}`;
}

/** In the order of {@link DIMENSIONS}. */
function keyOf({ age, sex, zip3, race, favoriteColor }: SubjectState): Key {
  return [age === undefined ? undefined : bandOf(age), sex, zip3, race, favoriteColor];
}

function shownKeyOf(row: ShownSubject): Key {
  return keyOf({
    id: row.id,
    age: row.age90Plus ? OLDEST_AGE : (row.ageYears ?? undefined),
    sex: row.sex ?? undefined,
    zip3: row.zip3 ?? undefined,
    race: row.race ?? undefined,
    favoriteColor: row.favoriteColor ?? undefined,
  });
}

function isText(value: string | null | undefined): value is string {
  return typeof value === 'string';
}
