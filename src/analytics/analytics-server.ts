/** The anonymized graph as a server of its own: schema/analytics.graphql under the analyst's database role. */
import { readFileSync } from 'node:fs';
import { ApolloServer } from '@apollo/server';
import { unwrapResolverError } from '@apollo/server/errors';
import { expressMiddleware } from '@as-integrations/express5';
import express from 'express';
import {
  GraphQLError,
  GraphQLScalarType,
  Kind,
  type ASTVisitor,
  type GraphQLFormattedError,
  type ValidationContext,
} from 'graphql';
import { NOBODY, principalOf } from '../auth/principal.js';
import { openPool } from '../database/database.js';
import { above } from '../files/above.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import type pg from 'pg';
import type { Instant } from '../time/valid-time.js';
import {
  AnalyticsInputError,
  AnonymizedAnswers,
  type AnonymizedState,
  type AskedBasis,
  type ShownBasis,
} from './answers.js';
import { UnknownBasisError } from './basis.js';
import { Budgets, PrivacyBudgetError, type Privacy } from './budget.js';
import type { ReleaseEvery, RowRelease } from './release-times.js';
import { PreparedReleases } from './prepared.js';
import { Releases } from './releases.js';
import type { DatedRow, ShownSubject, SubjectFilter } from './rows.js';
import { NotProjectedError, Snapshots, type DatedKind } from './snapshots.js';
import { TooManyCellsError } from './suppression.js';

export const ANALYTICS_PATH = '/graphql/analytics';

const DEFAULT_FIRST = 50;
const MOST_FIRST = 1_000;
/** Dated rows of one subject on one page. */
const DEFAULT_DATED = 20;
const MOST_DATED = 100;
/** Reads of a population or a list in one question: each may go through every subject. */
const MOST_READS = 20;
const MOST_BODY_BYTES = 256 * 1024;

export interface AnalyticsOptions {
  /** The database as the role `anamnesis_analyst`. */
  readonly analystDatabaseUrl: string;
  /** Connections of the hub, which make the snapshots that analysts read; nothing that is answered comes through them. */
  readonly hub: pg.Pool;
  readonly hashes: Pick<KeyedHashes, 'hash'>;
  readonly releaseEvery?: ReleaseEvery;
  readonly rowRelease?: RowRelease;
  readonly privacy?: Privacy;
  /** Told of a question that failed for none of the reasons a client is told. */
  readonly onFailure?: (error: unknown) => void;
  /** This moment; for tests. */
  readonly now?: () => Instant;
}

export interface AnalyticsContext {
  /** Name of who asks: whose privacy budget is spent. */
  readonly analyst: string;
}

export interface AnalyticsServer {
  readonly apollo: ApolloServer<AnalyticsContext>;
  /** Ends the server and its connections. */
  close(): Promise<void>;
}

/** A started server of the anonymized graph, with connections under the analyst's role only. */
export async function createAnalyticsServer(options: AnalyticsOptions): Promise<AnalyticsServer> {
  const pool = openPool(options.analystDatabaseUrl, { max: 2, applicationName: 'anamnesis analytics' });
  const answers = new AnonymizedAnswers({
    ...options,
    analyst: pool,
    snapshots: new Snapshots(options.hub),
    releases: new Releases(options.hub),
    ...(options.privacy === undefined ? {} : { budgets: new Budgets(options.hub, options.privacy) }),
  });
  const apollo = new ApolloServer<AnalyticsContext>({
    typeDefs: readFileSync(above('schema/analytics.graphql'), 'utf8'),
    resolvers: resolversOf(answers),
    validationRules: [fewReads],
    formatError: (formatted, error) => formatError(formatted, error, options.onFailure),
    includeStacktraceInErrorResponses: false,
    introspection: true,
  });
  await apollo.start();
  const prepared = new PreparedReleases(answers, options.onFailure ?? (() => undefined));
  prepared.start();
  return {
    apollo,
    async close() {
      await prepared.stop();
      await apollo.stop();
      await pool.end();
    },
  };
}

/**
 * Serves the anonymized graph at `POST /graphql/analytics` of an express application.
 * @returns what to close when the application stops
 */
export async function mountAnalytics(
  app: express.Application,
  options: AnalyticsOptions,
): Promise<{ close(): Promise<void> }> {
  const server = await createAnalyticsServer(options);
  app.post(
    ANALYTICS_PATH,
    (_request, response, next) => {
      response.setHeader('Cache-Control', 'private, no-cache');
      next();
    },
    express.json({ limit: MOST_BODY_BYTES }),
    expressMiddleware(server.apollo, {
      context: ({ req }) => Promise.resolve({ analyst: (principalOf(req) ?? NOBODY).name }),
    }),
  );
  return { close: () => server.close() };
}

interface Connection<Node> {
  readonly edges: readonly { readonly node: Node; readonly cursor: string }[];
  readonly nodes: readonly Node[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

interface PageArguments {
  readonly first?: number | null;
  readonly after?: string | null;
}

/** A row with the state it is of: what hangs on it stands on the same. */
interface ResolvedSubject extends ShownSubject {
  readonly state: AnonymizedState;
}

interface ResolvedSnapshot {
  readonly basis: ShownBasis;
  readonly state: AnonymizedState;
}

function resolversOf(answers: AnonymizedAnswers): Record<string, GraphQLScalarType | Record<string, unknown>> {
  return {
    Date: DATE,
    Query: {
      at: async (_: unknown, asked: AskedBasis, { analyst }: AnalyticsContext): Promise<ResolvedSnapshot> => {
        const { snapshot, basis } = await answers.at(asked, analyst);
        return { basis, state: snapshot };
      },
    },
    Subject: SUBJECT,
    AnonymizedSnapshot: {
      subject: async ({ state }: ResolvedSnapshot, { id }: { id: string }): Promise<ResolvedSubject | null> => {
        const row = await state.subject(id);
        return row === null ? null : { ...row, state };
      },
      subjects: async (
        { state }: ResolvedSnapshot,
        { filter, first, after }: PageArguments & { filter?: SubjectFilter | null },
      ): Promise<Connection<ResolvedSubject>> => {
        const size = sizeOf(first, DEFAULT_FIRST, MOST_FIRST);
        const behind = typeof after === 'string' ? idOf(after) : undefined;
        const found = await state.subjects(filter, behind, size + 1);
        return connection(
          found.map((row) => ({ node: { ...row, state }, cursor: cursorOf(row.id) })),
          size,
          behind !== undefined,
        );
      },
      population: async (
        { state }: ResolvedSnapshot,
        { by, filter }: { by: string[]; filter?: SubjectFilter | null },
      ) => {
        const { cells, suppressedCells, total, privacy } = await state.population(by, filter);
        return {
          cells: cells.map(({ key, count }) => ({
            key: key.map((value, index) => ({ dimension: by[index], value: value ?? null })),
            count,
          })),
          suppressedCells,
          total,
          privacy: privacy ?? null,
        };
      },
    },
  };
}

function sizeOf(first: number | null | undefined, otherwise: number, most: number): number {
  const size = first ?? otherwise;
  if (size < 0 || size > most) throw new AnalyticsInputError('BAD_USER_INPUT', `first is at most ${most}`);
  return size;
}

/** A page of what was read, of which one more than asked for says that there is more. */
function connection<Node>(
  read: readonly { readonly node: Node; readonly cursor: string }[],
  size: number,
  hasPreviousPage: boolean,
): Connection<Node> {
  const edges = read.slice(0, size);
  return {
    edges,
    nodes: edges.map(({ node }) => node),
    pageInfo: {
      hasNextPage: read.length > size,
      hasPreviousPage,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

function cursorOf(id: string): string {
  return Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url');
}

/** @throws AnalyticsInputError */
function idOf(cursor: string): string {
  const hex = Buffer.from(cursor, 'base64url').toString('hex');
  if (!/^[0-9a-f]{32}$/.test(hex)) throw new AnalyticsInputError('BAD_USER_INPUT', 'not a cursor of this list');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Dated rows of a subject, each kind as the schema has it; a cursor is a place in the subject's own list. */
function datedField<Node>(kind: DatedKind, shape: (row: DatedRow) => Node) {
  return async (subject: ResolvedSubject, { first, after }: PageArguments): Promise<Connection<Node>> => {
    const size = sizeOf(first, DEFAULT_DATED, MOST_DATED);
    const offset = typeof after === 'string' ? placeOf(after) : 0;
    const found = await subject.state.dated(subject.id, kind, offset, size + 1);
    return connection(
      found.map((row, index) => ({ node: shape(row), cursor: String(offset + index + 1) })),
      size,
      offset > 0,
    );
  };
}

function placeOf(cursor: string): number {
  if (!/^\d{1,9}$/.test(cursor)) throw new AnalyticsInputError('BAD_USER_INPUT', 'not a cursor of this list');
  return Number(cursor);
}

const SUBJECT = {
  encounters: datedField('encounter', ({ at, days, system, code }) => ({
    class: system,
    departmentType: code,
    start: at,
    lengthOfStayDays: days,
  })),
  observations: datedField('observation', ({ at, system, code, value, unit, abnormal, valueSystem, valueCode }) => ({
    date: at,
    system,
    code,
    value,
    unit,
    valueSystem,
    valueCode,
    abnormal,
  })),
  conditions: datedField('condition', ({ at, system, code, grouped }) => ({ date: at, system, code, group: grouped })),
  immunizations: datedField('immunization', ({ at, system, code }) => ({ date: at, system, code })),
};

function dateOf(value: unknown): string {
  const match = typeof value === 'string' ? /^(\d{4})-(\d\d)-(\d\d)$/.exec(value) : null;
  const date = match === null ? undefined : new Date(`${match[0]}T00:00:00Z`);
  if (
    match === null ||
    date === undefined ||
    Number.isNaN(date.getTime()) ||
    !date.toISOString().startsWith(match[0])
  ) {
    throw new GraphQLError('a Date is YYYY-MM-DD', { extensions: { code: 'BAD_USER_INPUT' } });
  }
  return match[0];
}

const DATE = new GraphQLScalarType<string, string>({
  name: 'Date',
  description: 'YYYY-MM-DD',
  serialize: (value) => value as string,
  parseValue: dateOf,
  parseLiteral: (node) => dateOf(node.kind === Kind.STRING ? node.value : undefined),
});

/** Every alias of a list or a count is an answer of its own. */
function fewReads(context: ValidationContext): ASTVisitor {
  let reads = 0;
  return {
    Field(node) {
      if (!['at', 'subject', 'subjects', 'population', ...Object.keys(SUBJECT)].includes(node.name.value)) return;
      reads += 1;
      if (reads === MOST_READS + 1) {
        context.reportError(
          new GraphQLError(`at most ${MOST_READS} lists and counts in one question`, {
            nodes: node,
            extensions: { code: 'QUERY_TOO_COMPLEX' },
          }),
        );
      }
    },
  };
}

/** The code that the code of this file gave, which the checks of GraphQL wrap in one of their own. */
function statedCode(error: unknown): string | undefined {
  for (let cause = error; cause instanceof GraphQLError; cause = cause.originalError) {
    const code = cause.extensions['code'];
    if (code === 'BAD_USER_INPUT' || code === 'QUERY_TOO_COMPLEX') return code;
  }
  return undefined;
}

/** Only errors that are meant for the caller keep their words; all others could quote what nobody may see. */
function formatError(
  formatted: GraphQLFormattedError,
  error: unknown,
  onFailure?: (error: unknown) => void,
): GraphQLFormattedError {
  const cause = unwrapResolverError(error);
  const where = {
    ...(formatted.path === undefined ? {} : { path: formatted.path }),
    ...(formatted.locations === undefined ? {} : { locations: formatted.locations }),
  };
  if (
    cause instanceof AnalyticsInputError ||
    cause instanceof UnknownBasisError ||
    cause instanceof NotProjectedError ||
    cause instanceof TooManyCellsError
  ) {
    return { ...where, message: cause.message, extensions: { code: cause.code } };
  }
  if (cause instanceof PrivacyBudgetError) {
    const { message, code, cost, left } = cause;
    return { ...where, message, extensions: { code, cost, left } };
  }
  const code = statedCode(error) ?? formatted.extensions?.['code'];
  if (typeof code === 'string' && code !== 'INTERNAL_SERVER_ERROR')
    return { ...where, message: formatted.message, extensions: { code } };
  onFailure?.(cause);
  return { ...where, message: 'the question could not be answered', extensions: { code: 'INTERNAL_SERVER_ERROR' } };
}
