/**
 * Versions of a resource as a FHIR server shows them: one line, in the order in which the chart changed. At each moment T the chart is what
 * was known at T about T, so a row counts from the later of its recording and its valid time. A version begins wherever another row decides
 * a field than before: a message that says the same again makes one too, as an update does (FHIR R4 §3.1.0.4). Rows that something newer
 * covers when they arrive change no chart and are in the graph's history alone.
 */
import DataLoader from 'dataloader';
import { foldThing, mergeFolded, valuesOf, type Folded, type Point } from '../../../projections/master/fold.js';
import type { FactKind } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { fhirId, ofFhirId, readThingId, readUuid, thingId } from '../ids.js';
import { byRecord, patientAt, PATIENT_KIND, type Snapshot, type ThingNode } from '../snapshot.js';
import type { FactRow, LinkRow, Persons, Thing } from '../store/master-store.js';
import { patientValues } from '../view/people.js';
import { kindOf, resourceOf, type Values } from '../view/resource.js';
import type { JsonObject } from '../view/json.js';

/** One state of the chart. */
interface State {
  /** Equal for states that the same rows decide. */
  readonly signature: string;
  /** Undefined where there is no such resource. */
  readonly resource: JsonObject | undefined;
}

/** When a row or a link counts from. */
interface Moment {
  readonly at: Instant;
  readonly pos: bigint;
}

/** A moment at which the chart may have changed. */
interface Change extends Moment {
  /** What is known then: nothing recorded later, while what takes effect later is left out by its valid time. */
  readonly known: bigint;
  readonly versionId: string;
}

export interface ResourceVersion {
  /** Position of the message that made it; one that makes several, of which some take effect later, has them numbered behind a dot. */
  readonly versionId: string;
  readonly lastUpdated: Instant;
  /** Rendered, with `meta`; undefined where this version is that the resource is gone. */
  readonly resource: JsonObject | undefined;
  /** Nothing of it was there before. */
  readonly first: boolean;
}

/** The versions of one resource, read as they are asked for. */
export interface Versions {
  /** Logical id (FHIR R4 `id`). */
  readonly id: string;
  readonly kind: FactKind;
  /** False where no message that can still be read says anything. */
  readonly isSpokenOf: boolean;
  /** @param upTo versions of later positions are not wanted, and may come nevertheless */
  newestFirst(upTo?: bigint): AsyncIterable<ResourceVersion> | Iterable<ResourceVersion>;
  /** @returns undefined where there is no version of that id */
  find(versionId: string): Promise<ResourceVersion | undefined>;
}

const NOTHING: State = { signature: '', resource: undefined };

/** A resource through time, as known at the basis of its snapshot. */
export abstract class Subject implements Versions {
  private changes: readonly Change[] | undefined;
  private readonly states = new Map<number, State>();

  constructor(
    readonly id: string,
    readonly kind: FactKind,
    private readonly until: Point,
  ) {}

  abstract get isSpokenOf(): boolean;

  protected abstract moments(): Moment[];
  protected abstract stateAt(point: Point): State;

  /** The version that stands at the basis; undefined where there never was one. */
  current(): ResourceVersion | undefined {
    for (const version of this.versions()) return version;
    return undefined;
  }

  /** Newest first. */
  *versions(): Generator<ResourceVersion> {
    const { length } = this.ordered();
    for (let index = length - 1; index >= 0; index -= 1) {
      const version = this.versionAt(index);
      if (version !== undefined) yield version;
    }
  }

  newestFirst(): Iterable<ResourceVersion> {
    return this.versions();
  }

  find(versionId: string): Promise<ResourceVersion | undefined> {
    const index = this.ordered().findIndex((change) => change.versionId === versionId);
    return Promise.resolve(index < 0 ? undefined : this.versionAt(index));
  }

  private ordered(): readonly Change[] {
    return (this.changes ??= inOrder(
      this.moments().filter(({ at, pos }) => at <= this.until.validAt && pos <= this.until.position),
    ));
  }

  private versionAt(index: number): ResourceVersion | undefined {
    const before = index === 0 ? NOTHING : this.state(index - 1);
    const { signature, resource } = this.state(index);
    if (signature === before.signature) return undefined;
    const { at, versionId } = this.ordered()[index] as Change;
    if (resource === undefined) {
      return before.resource === undefined ? undefined : { versionId, lastUpdated: at, resource, first: false };
    }
    const stated = resource['meta'] as JsonObject | undefined;
    const { resourceType, id, meta: _meta, ...content } = resource;
    return {
      versionId,
      lastUpdated: at,
      resource: {
        resourceType: resourceType as string,
        id: id as string,
        meta: { ...stated, versionId, lastUpdated: at },
        ...content,
      },
      first: before.resource === undefined,
    };
  }

  private state(index: number): State {
    let state = this.states.get(index);
    if (state === undefined) {
      const { at, known } = this.ordered()[index] as Change;
      state = this.stateAt({ position: known, validAt: at });
      this.states.set(index, state);
    }
    return state;
  }
}

/** In the order in which the chart changed, each once. */
function inOrder(moments: Moment[]): Change[] {
  moments.sort((left, right) =>
    left.at !== right.at ? (left.at < right.at ? -1 : 1) : left.pos < right.pos ? -1 : left.pos > right.pos ? 1 : 0,
  );
  const changes: Change[] = [];
  const made = new Map<bigint, number>();
  let known = 0n;
  for (const { at, pos } of moments) {
    const before = changes.at(-1);
    if (before?.at === at && before.pos === pos) continue;
    if (pos > known) known = pos;
    const count = (made.get(pos) ?? 0) + 1;
    made.set(pos, count);
    changes.push({ at, pos, known, versionId: count === 1 ? pos.toString() : `${pos}.${count}` });
  }
  return changes;
}

function effectOf(row: FactRow): Moment {
  return { at: row.recordedAt > row.validFrom ? row.recordedAt : row.validFrom, pos: row.pos };
}

/** Which rows decide which fields. */
function signatureOf(folded: Folded<FactRow>): string {
  const fields: string[] = [];
  for (const [field, { row, value }] of folded)
    fields.push(`${field}\0${row.pos}\0${row.validFrom}${value === undefined ? '\0' : ''}`);
  return fields.sort().join('\n');
}

function isEmpty(values: Values): boolean {
  for (const _ in values) return false;
  return true;
}

/** A fact of somebody: everything but the person. */
class ThingSubject extends Subject {
  /** @param changing rows whose changes are wanted; all that decide something when they take effect are the thing's own */
  constructor(
    private readonly thing: Thing,
    private readonly links: readonly LinkRow[],
    until: Point,
    private readonly changing: readonly FactRow[] = thing.rows,
  ) {
    super(fhirId(thingId(thing)), kindOf(thing.kind), until);
  }

  get isSpokenOf(): boolean {
    return this.thing.rows.length > 0;
  }

  protected moments(): Moment[] {
    return this.changing.map(effectOf);
  }

  protected stateAt(point: Point): State {
    const folded = foldThing(this.thing.rows, point);
    const values = valuesOf(folded);
    if (isEmpty(values)) return { signature: signatureOf(folded), resource: undefined };
    return {
      signature: signatureOf(folded),
      resource: resourceOf(this.kind, this.id, values, patientAt(this.links, point.position)),
    };
  }
}

/** Rows of a thing with very many that are read at a time: at first, and at most. */
const WINDOW_LEAST = 16;
const WINDOW_MOST = 512;

/**
 * A thing with very many rows, none of them about a time after its recording: it changed in order of their positions, and is read by windows of
 * them, each with what decides it there.
 */
class LongThing implements Versions {
  readonly id: string;
  readonly kind: FactKind;
  readonly isSpokenOf = true;

  constructor(
    private readonly snapshot: Snapshot,
    private readonly thing: Thing,
    private readonly links: readonly LinkRow[],
  ) {
    this.id = fhirId(thingId(thing));
    this.kind = kindOf(thing.kind);
  }

  async *newestFirst(upTo?: bigint): AsyncGenerator<ResourceVersion> {
    const { store, basis, point } = this.snapshot;
    let to = upTo === undefined || upTo > point.position ? point.position : upTo;
    for (let least = WINDOW_LEAST; ; least = Math.min(least * 2, WINDOW_MOST)) {
      const range = { from: 0n, to, validAt: point.validAt, newestFirst: true };
      const { rows, more } = await store.rowsOfThing(basis.build, this.thing, range, least);
      const points = rows.map(({ pos, recordedAt }) => ({ position: pos, validAt: recordedAt, knownAt: recordedAt }));
      const known = await store.decidingAt(basis.build, this.thing, points, rows);
      const window = new ThingSubject({ ...this.thing, rows: known }, this.links, point, rows);
      // The oldest is there for what the one behind it changed; it comes first in the next window.
      const oldest = more ? rows.at(-1)?.pos : undefined;
      for (const version of window.versions()) if (version.versionId !== oldest?.toString()) yield version;
      if (oldest === undefined) return;
      to = oldest;
    }
  }

  async find(versionId: string): Promise<ResourceVersion | undefined> {
    if (!/^\d{1,18}$/.test(versionId)) return undefined;
    for await (const version of this.newestFirst(BigInt(versionId)))
      return version.versionId === versionId ? version : undefined;
    return undefined;
  }
}

/** A person: all records that were ever linked with the patient. */
class PatientSubject extends Subject {
  constructor(
    private readonly patient: string,
    private readonly links: ReadonlyMap<string, readonly LinkRow[]>,
    /** Things about the person of each record. */
    private readonly things: ReadonlyMap<string, readonly Thing[]>,
    /** Whoever holds a record at all, of those that share one with this patient: record → links. */
    private readonly others: ReadonlyMap<string, readonly LinkRow[]>,
    until: Point,
  ) {
    super(patient, 'PATIENT', until);
  }

  get isSpokenOf(): boolean {
    for (const things of this.things.values()) if (things.length > 0) return true;
    return false;
  }

  protected moments(): Moment[] {
    const changes: Moment[] = [];
    for (const things of this.things.values())
      for (const { rows } of things) for (const row of rows) changes.push(effectOf(row));
    for (const links of this.links.values())
      links.forEach((link, index) => {
        const before = links[index - 1]?.patient;
        if (before !== link.patient && (link.patient === this.patient || before === this.patient))
          changes.push({ at: link.recordedAt, pos: link.pos });
      });
    return changes;
  }

  protected stateAt(point: Point): State {
    const held: string[] = [];
    let left: { readonly pos: bigint; readonly to: string } | undefined;
    for (const [record, links] of this.links) {
      const holder = patientAt(links, point.position);
      if (holder === this.patient) held.push(record);
      else if (holder !== undefined) left = laterOf(left, departure(links, this.patient, point.position));
    }
    if (held.length === 0) {
      if (left === undefined) return NOTHING;
      return { signature: `merged\0${left.pos}\0${left.to}`, resource: replaced(this.patient, left.to) };
    }
    held.sort();
    const parts = held.map((record) =>
      mergeFolded((this.things.get(record) ?? []).map((thing) => foldThing(thing.rows, point))),
    );
    const values = patientValues(parts);
    const spoken = held.some((record) =>
      (this.things.get(record) ?? []).some(({ rows }) => rows.some((row) => row.pos <= point.position)),
    );
    const replaces = this.replacedAt(point.position, held);
    const signature = held
      .map((record, index) => `${record}\n${signatureOf(parts[index] as Folded<FactRow>)}`)
      .concat(replaces)
      .join('\n\n');
    if (isEmpty(values) && spoken) return { signature, resource: undefined };
    return { signature, resource: withReplaced(resourceOf('PATIENT', this.id, values, undefined), replaces) };
  }

  /** Patients whose records are all this one's by now, some of them after having been another's. */
  private replacedAt(position: bigint, held: readonly string[]): string[] {
    const former = new Set<string>();
    for (const record of held)
      for (const { pos, patient } of this.links.get(record) ?? [])
        if (pos <= position && patient !== this.patient) former.add(patient);
    for (const links of this.others.values()) {
      const holder = patientAt(links, position);
      if (holder !== undefined) former.delete(holder);
    }
    return [...former].sort();
  }
}

function laterOf<Left extends { readonly pos: bigint }>(
  one: Left | undefined,
  other: Left | undefined,
): Left | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one.pos < other.pos ? other : one;
}

/** When a record left a patient for the last time, and who holds it at the position. */
function departure(
  links: readonly LinkRow[],
  patient: string,
  position: bigint,
): { readonly pos: bigint; readonly to: string } | undefined {
  let found: { readonly pos: bigint; readonly to: string } | undefined;
  links.forEach((link, index) => {
    if (link.pos <= position && link.patient !== patient && links[index - 1]?.patient === patient)
      found = { pos: link.pos, to: link.patient };
  });
  const holder = patientAt(links, position);
  return found === undefined || holder === undefined ? undefined : { pos: found.pos, to: holder };
}

/** A patient whose records are all somebody else's (FHIR R4 Patient.link, `replaced-by`). */
function replaced(patient: string, by: string): JsonObject {
  return {
    resourceType: 'Patient',
    id: patient,
    active: false,
    link: [{ other: { reference: `Patient/${by}` }, type: 'replaced-by' }],
  };
}

function withReplaced(resource: JsonObject, replaces: readonly string[]): JsonObject {
  if (replaces.length === 0) return resource;
  const stated = Array.isArray(resource['link']) ? resource['link'] : [];
  return {
    ...resource,
    link: [...stated, ...replaces.map((id) => ({ other: { reference: `Patient/${id}` }, type: 'replaces' }))],
  };
}

const patientLoaders = new WeakMap<Snapshot, DataLoader<string, Subject | undefined>>();

function patientLoader(snapshot: Snapshot): DataLoader<string, Subject | undefined> {
  const loader =
    patientLoaders.get(snapshot) ??
    new DataLoader<string, Subject | undefined>((asked) => loadPatientSubjects(snapshot, asked));
  patientLoaders.set(snapshot, loader);
  return loader;
}

/**
 * Patients by their ids, in that order; undefined for an id that the hub never gave out. One statement, and one more where somebody was merged,
 * for any number of them and for all who ask a snapshot at once.
 */
export function patientSubjects(snapshot: Snapshot, ids: readonly string[]): Promise<(Subject | undefined)[]> {
  const loader = patientLoader(snapshot);
  return Promise.all(ids.map((id) => loader.load(id)));
}

/** What was read of these patients, all of it, up to the position of the snapshot: it is not read again. */
export function rememberPatients(snapshot: Snapshot, ids: readonly string[], found: Persons): void {
  const loader = patientLoader(snapshot);
  const subjects = subjectsOf(snapshot, ids, found);
  // Whoever asks hears of a failure; others need not.
  subjects.catch(() => undefined);
  ids.forEach((id, index) =>
    loader.prime(
      id,
      subjects.then((list) => list[index]),
    ),
  );
}

async function loadPatientSubjects(snapshot: Snapshot, ids: readonly string[]): Promise<(Subject | undefined)[]> {
  const { build, position } = snapshot.basis;
  return subjectsOf(snapshot, ids, await snapshot.store.persons(build, PATIENT_KIND, ids, position));
}

async function subjectsOf(
  snapshot: Snapshot,
  ids: readonly string[],
  found: Persons,
): Promise<(Subject | undefined)[]> {
  const { build, position } = snapshot.basis;
  const links = byRecord(found.links);
  const records = new Map<string, string[]>();
  for (const [record, list] of links)
    for (const patient of new Set(list.map((link) => link.patient))) {
      const own = records.get(patient);
      if (own === undefined) records.set(patient, [record]);
      else own.push(record);
    }
  const things = Map.groupBy(found.things, ({ record }) => record);
  const asked = new Set(ids);
  const former = [...records.keys()].filter((patient) => !asked.has(patient));
  const others =
    former.length === 0 ? links : byRecord(await snapshot.store.linksOfPatients(build, [...former, ...ids], position));
  return ids.map((id) => {
    const held = records.get(id);
    if (held === undefined) return undefined;
    const own = new Map(held.map((record) => [record, links.get(record) as LinkRow[]]));
    const said = new Map(held.map((record) => [record, things.get(record) ?? []]));
    return new PatientSubject(id, own, said, others, snapshot.point);
  });
}

/** Facts of any kind that are present at the basis, in their order. One statement for the links of all their records. */
export async function nodeSubjects(snapshot: Snapshot, nodes: readonly ThingNode[]): Promise<Subject[]> {
  return Promise.all(
    nodes.map(async ({ thing }) => new ThingSubject(thing, await snapshot.linksOf(thing.record), snapshot.point)),
  );
}

/**
 * A resource by its logical id, whatever its type; undefined where the hub gave out no such id up to the basis.
 * @param id of FHIR: a patient's UUID, or a global id with `.` for `_`
 */
export async function subjectById(snapshot: Snapshot, id: string): Promise<Versions | undefined> {
  const uuid = readUuid(id);
  if (uuid !== undefined) return (await patientSubjects(snapshot, [uuid]))[0];
  const global = ofFhirId(id);
  return readThingId(global)?.kind === PATIENT_KIND ? undefined : thingById(snapshot, global);
}

/** Everything but the person, by its global id: with all its rows, or read as it is asked for where they are very many. */
export async function thingById(snapshot: Snapshot, id: string): Promise<Versions | undefined> {
  const record = readThingId(id)?.record;
  if (record === undefined) return undefined;
  const [found, links] = await Promise.all([snapshot.standingThing(id), snapshot.linksOf(record)]);
  if (found?.deciding?.ahead === false) return new LongThing(snapshot, found, links);
  const thing = found?.deciding === undefined ? found : await snapshot.thing(id);
  return thing === undefined ? undefined : new ThingSubject(thing, links, snapshot.point);
}
