/** The anonymized graph as a server of its own: schema/analytics.graphql under the analyst's database role. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
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
import { openPool } from '../database/database.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import {
  AnalyticsInputError,
  AnonymizedAnswers,
  type AnonymizedState,
  type AskedBasis,
  type ListedSubject,
  type ShownBasis,
} from './answers.js';
import { UnknownBasisError } from './basis.js';
import type { ShownSubject, SubjectFilter } from './disclosure.js';
import { NotProjectedError, SnapshotReader } from './snapshot.js';
import { TooManyCellsError } from './suppression.js';

export const ANALYTICS_PATH = '/graphql/analytics';

const DEFAULT_FIRST = 50;
const MOST_FIRST = 1_000;
/** Reads of a population or a list in one question: each may hold every subject. */
const MOST_READS = 20;
const MOST_BODY_BYTES = 256 * 1024;

export interface AnalyticsOptions {
  /** The database as the role `anamnesis_analyst`. */
  readonly analystDatabaseUrl: string;
  readonly hashes: Pick<KeyedHashes, 'hash'>;
  /** Today in UTC, `YYYY-MM-DD`; for tests. */
  readonly today?: () => string;
}

export interface AnalyticsServer {
  readonly apollo: ApolloServer;
  /** Ends the server and its connections. */
  close(): Promise<void>;
}

/** A started server of the anonymized graph, with connections under the analyst's role only. */
export async function createAnalyticsServer(options: AnalyticsOptions): Promise<AnalyticsServer> {
  const pool = openPool(options.analystDatabaseUrl, { max: 2, applicationName: 'anamnesis analytics' });
  const answers = new AnonymizedAnswers({
    reader: new SnapshotReader(pool),
    hashes: options.hashes,
    ...(options.today === undefined ? {} : { today: options.today }),
  });
  const apollo = new ApolloServer({
    typeDefs: readFileSync(path.resolve(import.meta.dirname, '../../schema/analytics.graphql'), 'utf8'),
    resolvers: resolversOf(answers),
    validationRules: [fewReads],
    formatError,
    includeStacktraceInErrorResponses: false,
    introspection: true,
  });
  await apollo.start();
  return {
    apollo,
    async close() {
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
    expressMiddleware(server.apollo),
  );
  return { close: () => server.close() };
}

interface Connection {
  readonly edges: readonly { readonly node: ShownSubject; readonly cursor: string }[];
  readonly nodes: readonly ShownSubject[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

interface ResolvedSnapshot {
  readonly basis: ShownBasis;
  readonly state: AnonymizedState;
}

function resolversOf(answers: AnonymizedAnswers): Record<string, GraphQLScalarType | Record<string, unknown>> {
  return {
    Date: DATE,
    Query: {
      at: async (_: unknown, asked: AskedBasis): Promise<ResolvedSnapshot> => {
        const { snapshot, basis } = await answers.at(asked);
        return { basis, state: snapshot };
      },
    },
    AnonymizedSnapshot: {
      subject: ({ state }: ResolvedSnapshot, { id }: { id: string }) => state.subject(id),
      subjects: async (
        { state }: ResolvedSnapshot,
        { filter, first, after }: { filter?: SubjectFilter | null; first?: number | null; after?: string | null },
      ) => pageOf(await state.subjects(filter), first, after),
      population: async (
        { state }: ResolvedSnapshot,
        { by, filter }: { by: string[]; filter?: SubjectFilter | null },
      ) => {
        const { cells, suppressedCells, total } = await state.population(by, filter);
        return {
          cells: cells.map(({ key, count }) => ({
            key: key.map((value, index) => ({ dimension: by[index], value: value ?? null })),
            count,
          })),
          suppressedCells,
          total,
        };
      },
    },
  };
}

/** One page of a list that is sorted by what its cursors hold. */
function pageOf(
  subjects: readonly ListedSubject[],
  first: number | null | undefined,
  after: string | null | undefined,
): Connection {
  const size = first ?? DEFAULT_FIRST;
  if (size < 0 || size > MOST_FIRST) throw new AnalyticsInputError('BAD_USER_INPUT', `first is at most ${MOST_FIRST}`);
  let start = 0;
  if (typeof after === 'string') {
    if (!/^[A-Za-z0-9_-]{16}$/.test(after))
      throw new AnalyticsInputError('BAD_USER_INPUT', 'not a cursor of this list');
    const next = subjects.findIndex(({ order }) => order > after);
    start = next < 0 ? subjects.length : next;
  }
  const page = subjects.slice(start, start + size);
  return {
    edges: page.map(({ order, row }) => ({ node: row, cursor: order })),
    nodes: page.map(({ row }) => row),
    pageInfo: {
      hasNextPage: start + page.length < subjects.length,
      hasPreviousPage: start > 0,
      startCursor: page[0]?.order ?? null,
      endCursor: page.at(-1)?.order ?? null,
    },
  };
}

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
      if (!['at', 'subjects', 'population'].includes(node.name.value)) return;
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
function formatError(formatted: GraphQLFormattedError, error: unknown): GraphQLFormattedError {
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
  const code = statedCode(error) ?? formatted.extensions?.['code'];
  if (typeof code === 'string' && code !== 'INTERNAL_SERVER_ERROR')
    return { ...where, message: formatted.message, extensions: { code } };
  return { ...where, message: 'the question could not be answered', extensions: { code: 'INTERNAL_SERVER_ERROR' } };
}
