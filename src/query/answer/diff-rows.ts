/** What a difference is made of: rows, links and things up to its later position, read as they are needed or, of one patient, all at once. */
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';
import type { FactRow, LinkRow, MasterStore, Thing } from '../store/master-store.js';

/** Of one patient at most so many rows are read at once: more than that cost more than the few statements that they spare. */
const WHOLE_ROWS = 300;

export interface RowRange {
  readonly fromPosition: Position;
  readonly toPosition: Position;
  readonly fromValid: Instant;
  readonly toValid: Instant;
  readonly kinds: readonly number[] | undefined;
  readonly after: Position;
  readonly limit: number;
}

interface ThingKey {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
}

export interface DiffRows {
  /** As {@link MasterStore.rowsBetween} gives them. */
  rowsBetween(range: RowRange): Promise<readonly FactRow[]>;
  /** Links made or moved at positions in (after, upTo], in order of position. */
  linksBetween(after: Position, upTo: Position, limit: number): Promise<readonly LinkRow[]>;
  /** Every link of these records, in order of (record, pos). */
  linksOfRecords(records: readonly string[]): Promise<readonly LinkRow[]>;
  /** Every link of every record that was ever linked with the patient, in order of (record, pos). */
  linksOfPatient(patient: string): Promise<readonly LinkRow[]>;
  things(records: readonly string[], kinds: readonly number[]): Promise<readonly Thing[]>;
  thingsById(keys: readonly ThingKey[]): Promise<readonly Thing[]>;
}

/** Read from the store as they are asked for. */
export class StoredRows implements DiffRows {
  /**
   * @param upTo the later position
   * @param records only of these
   */
  constructor(
    private readonly store: MasterStore,
    private readonly build: number,
    private readonly upTo: Position,
    private readonly records: readonly string[] | undefined,
  ) {}

  rowsBetween(range: RowRange): Promise<FactRow[]> {
    return this.store.rowsBetween(this.build, { ...range, records: this.records });
  }

  linksBetween(after: Position, upTo: Position, limit: number): Promise<LinkRow[]> {
    return this.store.linksBetween(this.build, after, upTo, limit, this.records);
  }

  linksOfRecords(records: readonly string[]): Promise<LinkRow[]> {
    return this.store.linksOfRecords(this.build, records, this.upTo);
  }

  linksOfPatient(patient: string): Promise<LinkRow[]> {
    return this.store.linksOfPatients(this.build, [patient], this.upTo);
  }

  things(records: readonly string[], kinds: readonly number[]): Promise<Thing[]> {
    return this.store.things(this.build, records, kinds, this.upTo);
  }

  thingsById(keys: readonly ThingKey[]): Promise<Thing[]> {
    return this.store.thingsById(this.build, keys, this.upTo);
  }
}

/** All that was ever said of one patient, none of whose records anybody else ever had. */
export class WholePatient implements DiffRows {
  private readonly inOrder: readonly FactRow[];
  private readonly moves: readonly LinkRow[];

  private constructor(
    private readonly links: readonly LinkRow[],
    private readonly all: readonly Thing[],
  ) {
    this.inOrder = all.flatMap(({ rows }) => rows).sort(byPosition);
    this.moves = [...links].sort(byPosition);
  }

  /** @returns undefined where it is too much to be read at once, or somebody else had one of the records too */
  static async read(
    store: MasterStore,
    build: number,
    patient: string,
    upTo: Position,
  ): Promise<WholePatient | undefined> {
    const found = await store.wholeOf(build, patient, upTo, WHOLE_ROWS);
    const isAlone = found?.links.every((link) => link.patient === patient) === true;
    return isAlone ? new WholePatient(found.links, found.things) : undefined;
  }

  rowsBetween({ fromPosition, toPosition, fromValid, toValid, kinds, after, limit }: RowRange): Promise<FactRow[]> {
    const found = this.inOrder.filter(
      ({ pos, validFrom, kind }) =>
        pos > after &&
        pos <= toPosition &&
        (pos > fromPosition || (validFrom > fromValid && validFrom <= toValid)) &&
        (kinds === undefined || kinds.includes(kind)),
    );
    return Promise.resolve(found.slice(0, limit));
  }

  linksBetween(after: Position, upTo: Position, limit: number): Promise<LinkRow[]> {
    return Promise.resolve(this.moves.filter(({ pos }) => pos > after && pos <= upTo).slice(0, limit));
  }

  linksOfRecords(records: readonly string[]): Promise<LinkRow[]> {
    return Promise.resolve(this.links.filter(({ record }) => records.includes(record)));
  }

  linksOfPatient(): Promise<readonly LinkRow[]> {
    return Promise.resolve(this.links);
  }

  things(records: readonly string[], kinds: readonly number[]): Promise<Thing[]> {
    return Promise.resolve(this.all.filter(({ record, kind }) => records.includes(record) && kinds.includes(kind)));
  }

  thingsById(keys: readonly ThingKey[]): Promise<Thing[]> {
    const wanted = new Set(keys.map(nameOf));
    return Promise.resolve(this.all.filter((thing) => wanted.has(nameOf(thing))));
  }
}

function nameOf({ record, kind, entity }: ThingKey): string {
  return `${record}/${kind}/${entity}`;
}

/** The store's order within one position is that of the things, which a stable sort keeps. */
function byPosition(left: { readonly pos: Position }, right: { readonly pos: Position }): number {
  return left.pos < right.pos ? -1 : left.pos > right.pos ? 1 : 0;
}
