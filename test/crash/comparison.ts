/** The log and the charts of a hub that was killed, held against the ledger of what its senders sent; every difference is named. */
import { createHash } from 'node:crypto';
import { openLogReader, type LogPlace } from '../../src/log/open-log.js';
import { graphql } from '../support/hub-process.js';

/** What senders did. Messages are named by {@link digestOf} their bytes. */
export interface SentLedger {
  readonly acknowledged: ReadonlySet<string>;
  /** Everything that was ever sent, with what it should leave on the chart. */
  readonly sent: ReadonlyMap<string, { readonly patient: number; readonly order: string }>;
}

export interface Comparison {
  /** Acknowledged and not in the log. */
  readonly lost: number;
  /** In the log more than once. */
  readonly doubled: number;
  /** Messages in the log that nobody sent or that are not applied, and patients whose chart is not what their messages say. */
  readonly mismatches: number;
}

export interface ComparisonOptions {
  readonly http: string;
  /** MRN of a patient by number. */
  readonly identifierOf: (patient: number) => string;
  /** Where the log itself stands: what is in it twice under one id, the hub shows once. */
  readonly log: LogPlace;
  readonly print: (line: string) => void;
}

/** Of each kind of difference so many are named. */
const MOST_NAMED = 10;

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('base64url');
}

/** Counts differences, and names the first of each kind. */
export class Differences {
  private readonly counts = new Map<string, number>();

  constructor(private readonly print: (line: string) => void) {}

  found(kind: string, what: string): void {
    const count = this.of(kind) + 1;
    this.counts.set(kind, count);
    if (count <= MOST_NAMED) this.print(`${kind}: ${what}`);
  }

  of(...kinds: readonly string[]): number {
    return kinds.reduce((sum, kind) => sum + (this.counts.get(kind) ?? 0), 0);
  }
}

/** Looks at everything from outside; the hub has caught up. */
export async function compare(ledger: SentLedger, options: ComparisonOptions): Promise<Comparison> {
  const { http, identifierOf, log, print } = options;
  const differences = new Differences(print);
  const stored = await messagesOf(http);
  const seen = new Map<string, string[]>();
  for (const { id, status, digest, position } of stored) {
    const sent = ledger.sent.get(digest);
    const before = seen.get(digest);
    if (before === undefined) seen.set(digest, [id]);
    else {
      before.push(id);
      differences.found('doubled', `${sent?.order ?? 'unknown'} is ${before.join(' and ')}`);
    }
    if (sent === undefined) differences.found('unsent', `${id} at ${position} (${status}) is of no sender`);
    else if (status !== 'APPLIED') differences.found('not applied', `${id} at ${position}, ${sent.order}: ${status}`);
  }
  for await (const { id, positions } of twiceInLog(log)) {
    differences.found('doubled', `event ${id} stands in the log at ${positions.join(' and ')}`);
  }
  for (const digest of ledger.acknowledged) {
    if (!seen.has(digest)) differences.found('lost', ledger.sent.get(digest)?.order ?? digest);
  }

  const expected = new Map<number, Map<string, string>>();
  for (const [digest, [id]] of seen) {
    const sent = ledger.sent.get(digest);
    if (sent === undefined || id === undefined) continue;
    const orders = expected.get(sent.patient) ?? new Map<string, string>();
    expected.set(sent.patient, orders.set(id, sent.order));
  }
  for (const [patient, orders] of expected) {
    const charted = await resultsOf(http, identifierOf(patient));
    if (charted === undefined) {
      differences.found('no chart', `patient ${patient} of ${orders.size} messages`);
      continue;
    }
    if (charted.length === orders.size) continue;
    const causes = new Set(charted.map(({ message }) => message));
    const missing = [...orders].filter(([id]) => !causes.has(id)).map(([id, order]) => `${order} (${id})`);
    const extra = charted.filter(({ message }) => !orders.has(message)).map(({ id, message }) => `${id} of ${message}`);
    const named = (list: readonly string[]): string => list.slice(0, MOST_NAMED).join(', ') || 'none';
    differences.found(
      'chart',
      `patient ${patient} has ${charted.length} results of ${orders.size} messages; without result: ${named(missing)}; of no message: ${named(extra)}`,
    );
  }
  const population = await populationOf(http);
  if (population !== expected.size)
    differences.found('population', `${population} people, ${expected.size} were spoken of`);
  return {
    lost: differences.of('lost'),
    doubled: differences.of('doubled'),
    mismatches: differences.of('unsent', 'not applied', 'no chart', 'chart', 'population'),
  };
}

/** Events of one id at several positions: the hub applies the first and leaves the others out of everything that it shows. */
export async function* twiceInLog(
  place: LogPlace,
): AsyncGenerator<{ readonly id: string; readonly positions: readonly bigint[] }> {
  const reader = await openLogReader(place);
  const first = new Map<string, bigint>();
  try {
    for (let after = 0n; ;) {
      const page = await reader.readPage({ after, limit: 1_000 });
      for (const { id, position } of page) {
        const before = first.get(id);
        if (before === undefined) first.set(id, position);
        else yield { id, positions: [before, position] };
      }
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.position;
    }
  } finally {
    await reader.close();
  }
}

interface StoredMessage {
  readonly id: string;
  readonly status: string;
  readonly position: string;
  readonly digest: string;
}

interface Page<Node> {
  readonly nodes: readonly Node[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
}

async function messagesOf(http: string): Promise<StoredMessage[]> {
  const query =
    'query ($after: String) { messages(first: 500, after: $after) { nodes { id status position body { base64 } } pageInfo { hasNextPage endCursor } } }';
  interface Answer {
    readonly messages: Page<{ id: string; status: string; position: string; body: { base64: string } | null }>;
  }
  const messages: StoredMessage[] = [];
  for (let after: string | null = null; ;) {
    const page: Answer['messages'] = (await graphql<Answer>(http, query, { after })).messages;
    for (const { body, ...message } of page.nodes) {
      messages.push({ ...message, digest: digestOf(Buffer.from(body?.base64 ?? '', 'base64')) });
    }
    if (!page.pageInfo.hasNextPage) return messages;
    after = page.pageInfo.endCursor;
  }
}

interface Result {
  readonly id: string;
  readonly message: string;
}

/** The different results on a patient's chart with the messages that made them what they are; undefined where there is no such patient. */
async function resultsOf(http: string, identifier: string): Promise<Result[] | undefined> {
  const query = `query ($value: String!, $after: String) {
    at { patientByIdentifier(authority: "CRASH", value: $value) {
      observations(first: 1000, after: $after) { nodes { id meta { message { id } } } pageInfo { hasNextPage endCursor } }
    } }
  }`;
  interface Answer {
    readonly at: {
      readonly patientByIdentifier: {
        readonly observations: Page<{ id: string; meta: { message: { id: string } } }>;
      } | null;
    };
  }
  const results = new Map<string, Result>();
  for (let after: string | null = null; ;) {
    const answer: Answer = await graphql<Answer>(http, query, { value: identifier, after });
    const page = answer.at.patientByIdentifier?.observations;
    if (page === undefined) return undefined;
    for (const { id, meta } of page.nodes) results.set(id, { id, message: meta.message.id });
    if (!page.pageInfo.hasNextPage) return [...results.values()];
    after = page.pageInfo.endCursor;
  }
}

async function populationOf(http: string): Promise<number> {
  const answer = await graphql<{ at: { population: { count: number }[] } }>(
    http,
    '{ at { population(by: []) { count } } }',
  );
  return answer.at.population.reduce((sum, { count }) => sum + count, 0);
}
