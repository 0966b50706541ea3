/**
 * FHIR R4 to read (docs/fhir.md): read, vread, history, search, `$everything`, each as of any moment. A second face of the master store: what is
 * answered is rendered from its facts at a basis, as the graph does. Writing is the ingest role's (src/inbound/http/fhir.controller.ts).
 */
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { FHIR_CONTENT_TYPE, isFhirR4Type } from '../../inbound/message-types.js';
import { fhirBaseOf, header } from '../../inbound/http/request-source.js';
import { FACT_KINDS } from '../../mapping/fact.js';
import type { Instant } from '../../time/valid-time.js';
import { instantOfMicroseconds, parseInstant } from '../basis/instant.js';
import { decodeCursor, encodeCursor } from '../connection.js';
import { ofFhirId, readUuid } from '../ids.js';
import { Session, type QueryServices } from '../session.js';
import type { Snapshot } from '../snapshot.js';
import type { JsonObject } from '../view/json.js';
import { etagOf, historyBundle, searchBundle } from './bundle.js';
import { capabilityStatement } from './capability.js';
import { dateRange } from './criteria.js';
import { everything } from './everything.js';
import { instanceHistory, typeHistory, type HistoryPage, type HistoryRange } from './history.js';
import { standingOf } from './listing.js';
import { kindOfType } from './parameters.js';
import { PresentPeople } from './present-people.js';
import { FhirProblem, outcomeOf, problemOf } from './problems.js';
import { countMatches, readCount, readSearch, searchPage } from './search.js';
import { patientSubjects, subjectById, type ResourceVersion, type Versions } from './versions.js';

export interface FhirReadOptions {
  readonly services: QueryServices;
  /** Errors that are nobody's but the hub's. */
  readonly onFailure: (error: unknown) => void;
}

type Pairs = readonly (readonly [string, string])[];

const FHIR_JSON = `${FHIR_CONTENT_TYPE}; charset=utf-8`;

/** How long a question without `_at` waits for messages that are in the log already. */
const CATCH_UP_MS = 2_000;
/** Bodies of searches by POST. */
const FORM_BYTES = 64 * 1024;

/** The routes, to be mounted at the root. */
export function fhirRoutes(options: FhirReadOptions): Router {
  const reading = new FhirReading(options);
  const router = express.Router();
  const handle =
    (answer: (request: Request, response: Response) => Promise<void>) =>
    (request: Request, response: Response, next: NextFunction): void => {
      answer(request, response).catch((error: unknown) => reading.refuse(error, response, next));
    };
  const form = express.text({ type: 'application/x-www-form-urlencoded', limit: FORM_BYTES });
  router.get(
    '/fhir/metadata',
    handle((request, response) => reading.metadata(request, response)),
  );
  router.get(
    '/fhir/_history',
    handle((request, response) => reading.history(request, response, undefined)),
  );
  router.get(
    '/fhir/:type/_history',
    handle((request, response) => reading.history(request, response, typeOf(request))),
  );
  router.post(
    '/fhir/:type/_search',
    form,
    handle((request, response) => reading.search(request, response)),
  );
  router.get(
    '/fhir/Patient/:id/\\$everything',
    handle((request, response) => reading.everything(request, response)),
  );
  router.get(
    '/fhir/:type/:id/_history/:version',
    handle((request, response) => reading.vread(request, response)),
  );
  router.get(
    '/fhir/:type/:id/_history',
    handle((request, response) => reading.instance(request, response)),
  );
  router.get(
    '/fhir/:type/:id',
    handle((request, response) => reading.read(request, response)),
  );
  router.get(
    '/fhir/:type',
    handle((request, response) => reading.search(request, response)),
  );
  router.use('/fhir', (request: Request, response: Response) => {
    const read = request.method === 'GET' || request.method === 'HEAD';
    if (!read) response.setHeader('Allow', 'GET, HEAD');
    sendJson(
      response,
      read ? 404 : 405,
      read ? outcomeOf('error', 'not-found', 'NOT_FOUND') : outcomeOf('error', 'not-supported', 'METHOD_NOT_ALLOWED'),
    );
  });
  return router;
}

/** Without what Express looks up for every answer: charset, a tag of its own, whether the client has it already. */
function sendJson(response: Response, status: number, body: JsonObject): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': FHIR_JSON,
    'cache-control': 'private, no-cache',
    'content-length': bytes.length,
  });
  // For HEAD Node sends the head alone.
  response.end(bytes);
}

/** @throws FhirProblem 404 for what is no type of R4 */
function typeOf(request: Request): string {
  const type = textParam(request, 'type');
  if (!isFhirR4Type(type)) throw new FhirProblem(404, 'not-supported', 'UNKNOWN_RESOURCE_TYPE');
  return type;
}

function textParam(request: Request, name: string): string {
  const value = request.params[name];
  return typeof value === 'string' ? value : '';
}

/** Parameters of the URL and, of a search by POST, of the body, in their order. */
function pairsOf(request: Request): Pairs {
  const query = request.url.includes('?') ? request.url.slice(request.url.indexOf('?') + 1) : '';
  const body: unknown = request.method === 'POST' ? request.body : undefined;
  return [...new URLSearchParams(query), ...(typeof body === 'string' ? new URLSearchParams(body) : [])];
}

function valueOf(pairs: Pairs, name: string): string | undefined {
  return pairs.find(([own, value]) => own === name && value !== '')?.[1];
}

/** Parameters that reads and histories have. */
function refuseOthers(request: Request, pairs: Pairs, known: readonly string[]): void {
  checkFormat(request, pairs);
  if (!isStrict(request)) return;
  const other = pairs.find(([name]) => !known.includes(name) && name !== '_format' && name !== '_pretty');
  if (other !== undefined) throw new FhirProblem(400, 'not-supported', 'PARAMETER_NOT_SUPPORTED', other[0]);
}

function isStrict(request: Request): boolean {
  return /(?:^|[\s,;])handling\s*=\s*"?strict\b/i.test(header(request, 'prefer') ?? '');
}

const JSON_FORMATS = /^(?:json|text\/json|application\/(?:fhir\+)?json)(?:\s*;.*)?$/i;

/** @throws FhirProblem 406 for anything but JSON */
function checkFormat(request: Request, pairs: Pairs): void {
  const format = valueOf(pairs, '_format');
  const good =
    format === undefined
      ? request.accepts([FHIR_CONTENT_TYPE, 'application/json', 'text/json']) !== false
      : JSON_FORMATS.test(format.replace(' ', '+'));
  if (!good) throw new FhirProblem(406, 'not-supported', 'FORMAT_NOT_SUPPORTED');
}

/** @throws FhirProblem 400 for what is no moment: a day or a month could mean its beginning or its end */
function momentOf(pairs: Pairs): Instant | undefined {
  const text = valueOf(pairs, '_at');
  if (text === undefined) return undefined;
  // A plus sign in a URL that was not escaped reads as a blank.
  const instant = parseInstant(text.replace(' ', '+'));
  if (instant === undefined) throw new FhirProblem(400, 'value', 'AT_IS_A_MOMENT', '_at');
  return instant;
}

/** @throws FhirProblem 400 */
function historyRange(pairs: Pairs): HistoryRange {
  const [since, at] = [valueOf(pairs, '_since'), valueOf(pairs, '_at')];
  const from = since === undefined ? undefined : parseInstant(since.replace(' ', '+'));
  if (since !== undefined && from === undefined) throw new FhirProblem(400, 'value', 'BAD_VALUE', '_since');
  const range = at === undefined ? undefined : dateRange(at.replace(' ', '+'));
  if (at !== undefined && range === undefined) throw new FhirProblem(400, 'value', 'BAD_VALUE', '_at');
  return {
    ...(from === undefined ? {} : { since: from }),
    ...(range === undefined
      ? {}
      : { during: { from: instantOfMicroseconds(range.from), to: instantOfMicroseconds(range.to) } }),
  };
}

class FhirReading {
  private readonly startedAt = new Date().toISOString();
  private readonly present: PresentPeople;
  /** Where the projection was left behind last: nobody waits there a second time. */
  private stuckAt: bigint | undefined;

  constructor(private readonly options: FhirReadOptions) {
    this.present = new PresentPeople(options.services);
  }

  refuse(error: unknown, response: Response, next: NextFunction): void {
    const problem = problemOf(error);
    if (problem === undefined) {
      if (response.headersSent) return next(error);
      this.options.onFailure(error);
      return sendJson(response, 500, outcomeOf('error', 'exception', 'INTERNAL_ERROR'));
    }
    if (problem.status === 503) response.set('retry-after', '1');
    sendJson(response, problem.status, problem.outcome());
  }

  async metadata(request: Request, response: Response): Promise<void> {
    checkFormat(request, pairsOf(request));
    sendJson(response, 200, capabilityStatement(fhirBaseOf(request), this.startedAt));
  }

  async read(request: Request, response: Response): Promise<void> {
    const type = typeOf(request);
    const pairs = pairsOf(request);
    refuseOthers(request, pairs, ['_at']);
    const id = textParam(request, 'id');
    const snapshot = await this.snapshot(momentOf(pairs), response, readUuid(id));
    const subject = await this.subject(snapshot, type, id);
    this.sendVersion(request, response, await newestOf(subject));
  }

  async vread(request: Request, response: Response): Promise<void> {
    const type = typeOf(request);
    refuseOthers(request, pairsOf(request), []);
    const versionId = textParam(request, 'version');
    if (!/^\d{1,19}(\.\d{1,4})?$/.test(versionId)) throw new FhirProblem(404, 'not-found', 'NOT_FOUND');
    const snapshot = await this.snapshot(undefined, response);
    const subject = await this.subject(snapshot, type, textParam(request, 'id'));
    this.sendVersion(request, response, await subject.find(versionId));
  }

  async instance(request: Request, response: Response): Promise<void> {
    const type = typeOf(request);
    const pairs = pairsOf(request);
    refuseOthers(request, pairs, ['_at', '_since', '_count', '_page']);
    const range = historyRange(pairs);
    const { snapshot, key } = await this.page(pairs, response);
    const subject = await this.subject(snapshot, type, textParam(request, 'id'));
    const count = readCount(pairs);
    const page = await instanceHistory(snapshot, subject, type, range, count, key);
    this.sendHistory(request, response, snapshot, pairs, key, page);
  }

  async history(request: Request, response: Response, type: string | undefined): Promise<void> {
    const pairs = pairsOf(request);
    refuseOthers(request, pairs, ['_at', '_since', '_count', '_page']);
    const range = historyRange(pairs);
    const { snapshot, key } = await this.page(pairs, response);
    const { during } = range;
    const page = await typeHistory(
      snapshot,
      {
        kinds: type === undefined ? FACT_KINDS : [kindOfType(type)],
        type,
        range,
        count: readCount(pairs),
        ...(during === undefined ? {} : { atStart: () => this.atOrNow(during.from, snapshot) }),
      },
      key,
    );
    this.sendHistory(request, response, snapshot, pairs, key, page);
  }

  async search(request: Request, response: Response): Promise<void> {
    const type = typeOf(request);
    const pairs = pairsOf(request);
    checkFormat(request, pairs);
    const search = readSearch(type, pairs, isStrict(request));
    const { snapshot, key } = await this.page(pairs, response, momentOf(pairs));
    const base = fhirBaseOf(request);
    const at = valueOf(pairs, '_at');
    const used = [...search.used, ...(at === undefined ? [] : [['_at', at] as const])];
    const link = (more: Pairs): string => urlOf(`${base}/${type}`, [...used, ...more]);
    const counted: Pairs = valueOf(pairs, '_count') === undefined ? [] : [['_count', String(search.count)]];
    if (search.countOnly) {
      const total = await countMatches(snapshot, search);
      const links = { self: link(counted) };
      return sendJson(response, 200, searchBundle({ base, basis: snapshot.basis, links, total, matches: [] }));
    }
    const { found, next } = await searchPage(snapshot, search, key);
    const whole = key === undefined && next === undefined ? found.length : undefined;
    const total = whole ?? (search.total ? await countMatches(snapshot, search) : undefined);
    const patients = search.includePatient
      ? [...new Set(found.flatMap(({ version }) => patientIn(version.resource)))]
      : [];
    const bundle = searchBundle({
      base,
      basis: snapshot.basis,
      links: {
        self: link(counted),
        ...(next === undefined
          ? {}
          : { next: link([...counted, ['_page', encodeCursor(snapshot.basis.token, next)]]) }),
      },
      ...(total === undefined ? {} : { total }),
      matches: found,
      included: await standingOf(await patientSubjects(snapshot, patients), ({ id }) => id),
      ...(search.ignored.length === 0 ? {} : { outcome: passedOver(search.ignored) }),
    });
    sendJson(response, 200, bundle);
  }

  async everything(request: Request, response: Response): Promise<void> {
    const pairs = pairsOf(request);
    refuseOthers(request, pairs, ['_at', '_since', '_count', '_page', '_type', 'start', 'end']);
    const { since } = historyRange(pairs.filter(([name]) => name === '_since'));
    const [start, end] = ['start', 'end'].map((name) => {
      const text = valueOf(pairs, name);
      const range = text === undefined ? undefined : dateRange(text);
      if (text !== undefined && range === undefined) throw new FhirProblem(400, 'value', 'BAD_VALUE', name);
      return range;
    });
    const types = valueOf(pairs, '_type')?.split(',');
    const { snapshot, key } = await this.page(pairs, response, momentOf(pairs));
    const id = readUuid(textParam(request, 'id'));
    if (id !== undefined) await snapshot.refuseErased(id);
    const matches =
      id === undefined
        ? undefined
        : await everything(
            snapshot,
            id,
            {
              ...(start === undefined ? {} : { from: instantOfMicroseconds(start.from) }),
              ...(end === undefined ? {} : { to: instantOfMicroseconds(end.to) }),
              ...(since === undefined ? {} : { since }),
              ...(types === undefined ? {} : { types }),
            },
            readCount(pairs),
            key,
          );
    if (matches === undefined) throw new FhirProblem(404, 'not-found', 'NOT_FOUND');
    const base = fhirBaseOf(request);
    const { found, next } = matches;
    const links = linksOf(request, base, pairs, snapshot, next);
    const total = key === undefined && next === undefined ? found.length : undefined;
    const bundle = { base, basis: snapshot.basis, links, matches: found, ...(total === undefined ? {} : { total }) };
    sendJson(response, 200, searchBundle(bundle));
  }

  /** @throws FhirProblem 404; GraphError ERASED */
  private async subject(snapshot: Snapshot, type: string, id: string): Promise<Versions> {
    const subject = await subjectById(snapshot, id);
    // Of the erased no row is left that says anything (docs/architecture.md §8).
    if (subject?.isSpokenOf !== true) await snapshot.refuseErased(ofFhirId(id));
    const kind = kindOfType(type);
    if (subject === undefined || subject.kind !== kind) throw new FhirProblem(404, 'not-found', 'NOT_FOUND');
    if (kind !== 'OTHER') return subject;
    // Types without a kind of their own say what they are in their content.
    for await (const { resource } of subject.newestFirst())
      if (resource !== undefined && resource['resourceType'] === type) return subject;
    throw new FhirProblem(404, 'not-found', 'NOT_FOUND');
  }

  private sendVersion(request: Request, response: Response, version: ResourceVersion | undefined): void {
    if (version === undefined) throw new FhirProblem(404, 'not-found', 'NOT_FOUND');
    const etag = etagOf(version);
    response.set({ etag, 'last-modified': new Date(version.lastUpdated).toUTCString() });
    // FHIR R4 §3.1.0.1.3: what is gone is known to be gone.
    if (version.resource === undefined) throw new FhirProblem(410, 'deleted', 'DELETED');
    const known = header(request, 'if-none-match');
    if (known !== undefined && known.split(',').some((one) => one.trim() === etag)) {
      response.status(304).end();
      return;
    }
    const since = header(request, 'if-modified-since');
    if (known === undefined && since !== undefined && Date.parse(version.lastUpdated) < Date.parse(since) + 1_000) {
      response.status(304).end();
      return;
    }
    sendJson(response, 200, version.resource);
  }

  private sendHistory(
    request: Request,
    response: Response,
    snapshot: Snapshot,
    pairs: Pairs,
    key: string | undefined,
    { found, next }: HistoryPage,
  ): void {
    const base = fhirBaseOf(request);
    const links = linksOf(request, base, pairs, snapshot, next);
    const total = key === undefined && next === undefined ? found.length : undefined;
    sendJson(response, 200, historyBundle(base, snapshot.basis, links, total, found));
  }

  /**
   * The chart at a moment, or now: with everything that was in the log when the question came (a client sees what it wrote).
   * @param patient who is read next
   * @throws GraphError
   */
  private async snapshot(at: Instant | undefined, response: Response, patient?: string): Promise<Snapshot> {
    const { services } = this.options;
    if (at !== undefined) return new Session(services).at({ knownAt: at, wait: true });
    const { head, snapshot } = await this.present.ask(patient);
    const { position } = snapshot.basis;
    if (position >= head) return snapshot;
    if (this.stuckAt === position || !(await services.basis.reached(head, CATCH_UP_MS))) {
      // A projection that is away takes no chart with it; the answer says that it may be stale (RFC 9111 §5.5).
      const late = await new Session(services).at({});
      this.stuckAt = late.basis.position;
      response.set('warning', '110 - "Response is Stale"');
      return late;
    }
    this.stuckAt = undefined;
    return new Session(services).at({});
  }

  /** The basis and the place that a link of an earlier page leads to, else those that the question asks for. */
  private async page(
    pairs: Pairs,
    response: Response,
    at?: Instant,
  ): Promise<{ readonly snapshot: Snapshot; readonly key?: string }> {
    const cursor = valueOf(pairs, '_page');
    if (cursor === undefined) return { snapshot: await this.snapshot(at, response) };
    const { token, key } = decodeCursor(cursor);
    return { snapshot: await new Session(this.options.services).byToken(token), key };
  }

  /** A moment that is known already, else what is known. */
  private async atOrNow(at: Instant, now: Snapshot): Promise<Snapshot> {
    if (at >= now.basis.knownAt) return now;
    return new Session(this.options.services).at({ knownAt: at });
  }
}

/** The version that stands at the basis; undefined where there never was one. */
async function newestOf(subject: Versions): Promise<ResourceVersion | undefined> {
  for await (const version of subject.newestFirst()) return version;
  return undefined;
}

function patientIn(resource: JsonObject): string[] {
  return ['subject', 'patient', 'beneficiary'].flatMap((element) => {
    const reference = (resource[element] as JsonObject | undefined)?.['reference'];
    return typeof reference === 'string' && reference.startsWith('Patient/') ? [reference.slice(8)] : [];
  });
}

function passedOver(names: readonly string[]): JsonObject {
  const issues = names.map((name) => outcomeOf('warning', 'not-supported', 'PARAMETER_NOT_SUPPORTED', name)['issue']);
  return { resourceType: 'OperationOutcome', issue: issues.flat() as JsonObject[] };
}

function urlOf(path: string, pairs: Pairs): string {
  const query = new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, value])).toString();
  return query === '' ? path : `${path}?${query}`;
}

function linksOf(
  request: Request,
  base: string,
  pairs: Pairs,
  snapshot: Snapshot,
  next: string | undefined,
): { readonly self: string; readonly next?: string } {
  const path = `${base}${request.path.replace(/^\/fhir/, '')}`;
  const others = pairs.filter(([name]) => name !== '_page');
  return {
    self: urlOf(path, pairs),
    ...(next === undefined
      ? {}
      : { next: urlOf(path, [...others, ['_page', encodeCursor(snapshot.basis.token, next)]]) }),
  };
}
