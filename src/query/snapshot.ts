/** One basis and everything read at it. Loads are batched: whatever a page needs of one kind is one statement. */
import DataLoader from 'dataloader';
import {
  foldThing,
  isPresent,
  latestRow,
  mergeFolded,
  valuesOf,
  type Folded,
  type Point,
} from '../../projections/master/fold.js';
import { FACT_KINDS, type FactKind } from '../mapping/fact.js';
import type { AtArguments, Basis } from './basis/basis.js';
import { decodeCursor } from './connection.js';
import { GraphError } from './errors.js';
import { readThingId, readUuid, thingId } from './ids.js';
import {
  ALL_KINDS,
  type FactRow,
  type LinkRow,
  type MasterStore,
  type MessageRow,
  type NoteRow,
  type Thing,
} from './store/master-store.js';
import { patientValues } from './view/people.js';
import { kindOf, resourceOf, type Values } from './view/resource.js';
import type { JsonObject } from './view/json.js';

export const PATIENT_KIND = FACT_KINDS.indexOf('PATIENT');
const OTHER_KINDS = ALL_KINDS.filter((kind) => kind !== PATIENT_KIND);

/** A source record linked to a patient at the basis. */
export interface LinkedRecord {
  readonly record: string;
  /** Every link of the record up to the basis, in order of position. */
  readonly links: readonly LinkRow[];
  /** The link by which it came to this patient, for this last time. */
  readonly since: LinkRow;
}

interface Linked {
  /** The patient that holds the records: itself or its survivor. */
  readonly patient: string;
  readonly records: readonly LinkedRecord[];
}

/** The patient of a record at a position. */
export function patientAt(links: readonly LinkRow[], position: bigint): string | undefined {
  let patient: string | undefined;
  for (const link of links) if (link.pos <= position) patient = link.patient;
  return patient;
}

/** The link by which a record came to the patient it has now: repeats of one link are one link. */
function sinceOf(links: readonly LinkRow[]): LinkRow {
  let since = links.at(-1) as LinkRow;
  for (let index = links.length - 1; index >= 0 && (links[index] as LinkRow).patient === since.patient; index -= 1) {
    since = links[index] as LinkRow;
  }
  return since;
}

/** Links by record, in the order they came. */
export function byRecord(links: readonly LinkRow[]): Map<string, LinkRow[]> {
  const grouped = new Map<string, LinkRow[]>();
  for (const link of links) {
    const list = grouped.get(link.record);
    if (list === undefined) grouped.set(link.record, [link]);
    else list.push(link);
  }
  return grouped;
}

/** Who holds which records after these links, and of those who hold none any more where the last went. */
function linkedIn(links: ReadonlyMap<string, readonly LinkRow[]>): {
  readonly held: ReadonlyMap<string, Linked>;
  readonly left: ReadonlyMap<string, { readonly pos: bigint; readonly to: string }>;
} {
  const records = new Map<string, LinkedRecord[]>();
  const left = new Map<string, { pos: bigint; to: string }>();
  for (const [record, own] of links) {
    const since = sinceOf(own);
    const list = records.get(since.patient);
    const linked = { record, links: own, since };
    if (list === undefined) records.set(since.patient, [linked]);
    else list.push(linked);
    own.forEach((link, index) => {
      const next = own[index + 1];
      if (next === undefined || next.patient === link.patient) return;
      const known = left.get(link.patient);
      if (known === undefined || known.pos < next.pos) left.set(link.patient, { pos: next.pos, to: since.patient });
    });
  }
  const held = new Map([...records].map(([patient, list]) => [patient, { patient, records: list.sort(byArrival) }]));
  return { held, left };
}

/** A thing that is present at a basis. */
export class ThingNode {
  private read: Values | undefined;

  constructor(
    readonly snapshot: Snapshot,
    readonly thing: Thing,
    readonly folded: Folded<FactRow>,
  ) {}

  get kind(): FactKind {
    return kindOf(this.thing.kind);
  }

  get id(): string {
    return thingId(this.thing);
  }

  get values(): Values {
    return (this.read ??= valuesOf(this.folded));
  }

  /** Where `meta` comes from. */
  get row(): FactRow {
    return latestRow(this.folded) as FactRow;
  }

  async resource(): Promise<JsonObject> {
    return resourceOf(this.kind, this.id, this.values, await this.snapshot.patientOf(this.thing.record));
  }
}

/** A patient that is present at a basis. */
export class PatientNode {
  private read: Values | undefined;

  constructor(
    readonly snapshot: Snapshot,
    readonly id: string,
    readonly records: readonly LinkedRecord[],
    /** One for each record, in their order. */
    readonly parts: readonly Folded<FactRow>[],
    /** The row of the field version with the greatest position. */
    readonly row: FactRow,
  ) {}

  get kind(): FactKind {
    return 'PATIENT';
  }

  get folded(): Folded<FactRow> {
    return mergeFolded(this.parts);
  }

  get values(): Values {
    return (this.read ??= patientValues(this.parts));
  }

  resource(): JsonObject {
    return resourceOf('PATIENT', this.id, this.values, undefined);
  }

  /** Things of one kind that are present, in the store's order. */
  async things(kind: FactKind): Promise<ThingNode[]> {
    const things = await this.snapshot.standing(
      this.records.map(({ record }) => record),
      [FACT_KINDS.indexOf(kind)],
    );
    return this.snapshot.present(things);
  }
}

export type Node = ThingNode | PatientNode;

export class Snapshot {
  readonly point: Point;
  private readonly thingLoader: DataLoader<string, readonly Thing[]>;
  private readonly standingLoader: DataLoader<string, readonly Thing[]>;
  private readonly idLoader: DataLoader<string, Thing | undefined>;
  private readonly nodeLoader: DataLoader<string, Thing | undefined>;
  private readonly linkedLoader: DataLoader<string, Linked | undefined>;
  private readonly recordLoader: DataLoader<string, readonly LinkRow[]>;
  private readonly patientLoader: DataLoader<string, PatientNode | null>;
  private readonly noteLoader: DataLoader<string, readonly NoteRow[]>;
  /** Kinds that are read along with the links of a patient. */
  private readonly along = new Set<number>();

  /**
   * @param given what `at` was asked with: a cursor of another basis must agree with it
   * @param sibling makes the snapshot of another basis token, of the same request
   */
  constructor(
    readonly basis: Basis,
    readonly store: MasterStore,
    readonly given: AtArguments,
    private readonly sibling: (token: string) => Promise<Snapshot>,
    private readonly messageLoader: DataLoader<string, MessageRow | undefined>,
  ) {
    const { build, position } = basis;
    this.point = { position, validAt: basis.validAt };
    const choose = (keys: readonly string[]): { records: string[]; kinds: number[] } => ({
      records: [...new Set(keys.map((key) => key.slice(0, 36)))],
      kinds: [...new Set(keys.map((key) => Number(key.slice(37))))],
    });
    const inTheirOrder = (keys: readonly string[], things: readonly Thing[]): readonly Thing[][] => {
      const found = Map.groupBy(things, (thing) => `${thing.record}/${thing.kind}`);
      return keys.map((key) => found.get(key) ?? []);
    };
    this.thingLoader = new DataLoader(async (keys) => {
      const { records, kinds } = choose(keys);
      return inTheirOrder(keys, await store.things(build, records, kinds, position));
    });
    this.standingLoader = new DataLoader(async (keys) =>
      inTheirOrder(keys, await store.standing(build, choose(keys), this.point, basis.knownAt)),
    );
    this.idLoader = new DataLoader(async (ids) => {
      const wanted = ids.flatMap((id) => readThingId(id) ?? []);
      const found = new Map((await store.thingsById(build, wanted, position)).map((thing) => [thingId(thing), thing]));
      return ids.map((id) => found.get(id));
    });
    this.nodeLoader = new DataLoader(async (ids) => {
      const wanted = ids.flatMap((id) => readThingId(id) ?? []);
      const choice = {
        records: [...new Set(wanted.map(({ record }) => record))],
        kinds: [...new Set(wanted.map(({ kind }) => kind))],
        entities: wanted.map(({ entity }) => entity),
      };
      const things = await store.standing(build, choice, this.point, basis.knownAt);
      const found = new Map(things.map((thing) => [thingId(thing), thing]));
      return ids.map((id) => found.get(id));
    });
    this.linkedLoader = new DataLoader((patients) => this.loadLinked(patients));
    this.recordLoader = new DataLoader(async (records) => {
      const found = byRecord(await store.linksOfRecords(build, records, position));
      return records.map((record) => found.get(record) ?? []);
    });
    this.patientLoader = new DataLoader((ids) => this.loadPatients(ids));
    this.noteLoader = new DataLoader(async (records) => {
      const notes = await store.notes(build, records, position);
      return records.map((record) => notes.filter((note) => note.record === record));
    });
  }

  /** Things of these records and kinds up to the basis's position, whatever their valid time, in the store's order. */
  async things(records: readonly string[], kinds: readonly number[] = ALL_KINDS): Promise<Thing[]> {
    const keys = records.flatMap((record) => kinds.map((kind) => `${record}/${kind}`));
    return (await Promise.all(keys.map((key) => this.thingLoader.load(key)))).flat();
  }

  /** The same for what stands at the basis: of a thing with very many rows only those that decide it. */
  async standing(records: readonly string[], kinds: readonly number[]): Promise<Thing[]> {
    const keys = records.flatMap((record) => kinds.map((kind) => `${record}/${kind}`));
    return (await Promise.all(keys.map((key) => this.standingLoader.load(key)))).flat();
  }

  /** Those of the things that have a value at the basis. */
  present(things: readonly Thing[]): ThingNode[] {
    const nodes: ThingNode[] = [];
    for (const thing of things) {
      const folded = foldThing(thing.rows, this.point);
      if (isPresent(folded)) nodes.push(new ThingNode(this, thing, folded));
    }
    return nodes;
  }

  /** Reads the links of records and of the patients who hold them at the basis at once, for {@link patientOf}, {@link recordsOf} and {@link patient}. */
  async holdersOf(records: readonly string[]): Promise<void> {
    if (records.length === 0) return;
    const links = byRecord(await this.store.linksOfHolders(this.basis.build, records, this.basis.position));
    for (const record of records) this.recordLoader.prime(record, links.get(record) ?? []);
    const { held } = linkedIn(links);
    for (const record of records) {
      const patient = links.get(record)?.at(-1)?.patient;
      const linked = patient === undefined ? undefined : held.get(patient);
      if (linked !== undefined) this.linkedLoader.prime(linked.patient, linked);
    }
  }

  /** Every link of a record up to the basis, in order of position. */
  linksOf(record: string): Promise<readonly LinkRow[]> {
    return this.recordLoader.load(record);
  }

  /** Patient of a record at the basis. */
  async patientOf(record: string): Promise<string | undefined> {
    return (await this.linksOf(record)).at(-1)?.patient;
  }

  /** A thing by its global id, with all its rows up to the basis's position, present at the basis or not. */
  thing(id: string): Promise<Thing | undefined> {
    return this.idLoader.load(id);
  }

  /** The same; of one with very many rows only those that decide what stands of it at the basis. */
  standingThing(id: string): Promise<Thing | undefined> {
    return this.nodeLoader.load(id);
  }

  /**
   * A merged id leads to the survivor; null where nobody of that id was known.
   * @param along kinds that will be asked for: they come with the patient, in one statement
   */
  async patient(id: string, along: readonly number[] = []): Promise<PatientNode | null> {
    const uuid = readUuid(id);
    if (uuid === undefined) return null;
    for (const kind of [PATIENT_KIND, ...along]) this.along.add(kind);
    return this.patientLoader.load(uuid);
  }

  async node(id: string): Promise<Node | null> {
    if (readUuid(id) !== undefined) return this.patient(id);
    const wanted = readThingId(id);
    if (wanted === undefined) return null;
    const thing = await this.standingThing(id);
    if (thing === undefined) return null;
    if (wanted.kind === PATIENT_KIND) {
      const patient = await this.patientOf(wanted.record);
      return patient === undefined ? null : this.patientLoader.load(patient);
    }
    return this.present([thing])[0] ?? null;
  }

  /**
   * For what was asked for directly and is not there: that of an erased person is known to be gone (DESIGN §8).
   * @throws GraphError ERASED
   */
  async refuseErased(id: string): Promise<void> {
    if (this.basis.erasureEpoch === 0) return;
    const patient = readUuid(id);
    const thing = readThingId(id);
    const records =
      patient === undefined
        ? thing === undefined
          ? []
          : [thing.record]
        : (await this.recordsOf(patient)).map(({ record }) => record);
    if (await this.store.areErased(records)) throw new GraphError('ERASED', 'this was erased');
  }

  /** A patient or a thing that was asked for by its id. @throws GraphError ERASED */
  async asked<Found>(id: string, found: Promise<Found | null>): Promise<Found | null> {
    const node = await found;
    if (node === null) await this.refuseErased(id);
    return node;
  }

  async notes(records: readonly string[]): Promise<NoteRow[]> {
    const notes = (await Promise.all(records.map((record) => this.noteLoader.load(record)))).flat();
    return notes.filter((note) => note.validFrom <= this.point.validAt);
  }

  message(id: string): Promise<MessageRow | undefined> {
    return this.messageLoader.load(id);
  }

  /** Records that a patient, or its survivor, holds at the basis. */
  async recordsOf(patient: string): Promise<readonly LinkedRecord[]> {
    return (await this.linkedLoader.load(patient))?.records ?? [];
  }

  /** The patient that holds the records of this one at the basis: itself or its survivor. */
  async holderOf(patient: string): Promise<string | undefined> {
    return (await this.linkedLoader.load(patient))?.patient;
  }

  /**
   * The snapshot a cursor was made at, and its key: pages never shift under a basis. A cursor of another basis is followed where `at` left
   * the point open, and refused where it contradicts what `at` was asked for.
   * @throws GraphError BAD_USER_INPUT, UNKNOWN_BASIS
   */
  async forCursor(after: string | null | undefined): Promise<{ readonly snapshot: Snapshot; readonly key?: string }> {
    if (after === null || after === undefined) return { snapshot: this };
    const { token, key } = decodeCursor(after);
    if (token === this.basis.token) return { snapshot: this, key };
    const other = await this.sibling(token);
    const same = other.basis.position === this.basis.position && other.basis.validAt === this.basis.validAt;
    if (same) return { snapshot: this, key };
    const { knownAt, position, basis, validAt } = this.given;
    const fixed = knownAt != null || position != null || basis != null;
    if (fixed || (validAt != null && other.basis.validAt !== this.basis.validAt)) {
      throw new GraphError('BAD_USER_INPUT', 'this cursor belongs to another basis');
    }
    return { snapshot: other, key };
  }

  private async loadLinked(patients: readonly string[]): Promise<(Linked | undefined)[]> {
    const { held, left } = linkedIn(byRecord(await this.linksWhileReading(patients)));
    return Promise.all(
      patients.map(async (patient) => {
        // Whoever was asked for has all its records among the rows, for each of them is or was linked with it.
        const found = held.get(patient);
        const survivor = left.get(patient)?.to;
        return found ?? (survivor === undefined ? undefined : this.linkedLoader.load(survivor));
      }),
    );
  }

  /** Links of patients; what is wanted along with them is there for those who ask next. */
  private async linksWhileReading(patients: readonly string[]): Promise<LinkRow[]> {
    const { build, position, knownAt } = this.basis;
    if (this.along.size === 0) return this.store.linksOfPatients(build, patients, position);
    const kinds = [...this.along].sort((left, right) => left - right);
    const { links, things } = await this.store.heldStanding(build, patients, kinds, this.point, knownAt);
    const found = Map.groupBy(things, ({ record, kind }) => `${record}/${kind}`);
    for (const record of new Set(links.map((link) => link.record)))
      for (const kind of kinds) {
        const key = `${record}/${kind}`;
        const own = found.get(key) ?? [];
        this.standingLoader.prime(key, own);
        if (own.every(({ deciding }) => deciding === undefined)) this.thingLoader.prime(key, own);
      }
    return links;
  }

  private async loadPatients(ids: readonly string[]): Promise<(PatientNode | null)[]> {
    const linked = await Promise.all(ids.map((id) => this.linkedLoader.load(id)));
    return Promise.all(
      linked.map(async (found) => {
        if (found === undefined) return null;
        const records = found.records.map(({ record }) => record);
        const things = await this.standing(records, [PATIENT_KIND]);
        const parts = records.map((record) => {
          const own = things.filter((thing) => thing.record === record);
          return mergeFolded(own.map((thing) => foldThing(thing.rows, this.point)));
        });
        const merged = mergeFolded(parts);
        let row = isPresent(merged) ? latestRow(merged) : undefined;
        if (row === undefined) {
          // Nothing is said of the person yet: there is a patient only where something else stands.
          const others = this.present(await this.standing(records, OTHER_KINDS)).map((node) => node.row);
          row = others.reduce<FactRow | undefined>(
            (latest, other) => (latest === undefined || other.pos > latest.pos ? other : latest),
            undefined,
          );
        }
        return row === undefined ? null : new PatientNode(this, found.patient, found.records, parts, row);
      }),
    );
  }
}

function byArrival(left: LinkedRecord, right: LinkedRecord): number {
  const [one, other] = [left.links[0] as LinkRow, right.links[0] as LinkRow];
  if (one.pos !== other.pos) return one.pos < other.pos ? -1 : 1;
  return left.record < right.record ? -1 : 1;
}
