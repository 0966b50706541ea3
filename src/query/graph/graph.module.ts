/** The clinical graph as a NestJS module: schema first, Apollo Server, one session a request. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { ApolloServerPlugin } from '@apollo/server';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, type DynamicModule } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { GraphQLModule } from '@nestjs/graphql';
import type { GraphQLError, GraphQLFormattedError } from 'graphql';
import { PROJECTION_COMMAND_HANDLERS, ProjectionDesk } from '../../projecting/commands.js';
import { graphRulesPlugin } from '../../auth/graph-rules.js';
import type { Principal } from '../../auth/principal.js';
import { above } from '../../files/above.js';
import { GraphError } from '../errors.js';
import { Session, type QueryServices } from '../session.js';
import { patientChanges, type LiveContext, type PatientChangedArguments } from '../live/patient-changed.js';
import type { PatientNode } from '../snapshot.js';
import { ChangeSourceHandler, SourceDesk } from '../source-desk.js';
import { documentsPlugin, type ListedDocuments } from './documents.js';
import { checkLimits, type QueryLimits } from './limits.js';
import { MUTATIONS, notYet } from './mutations/index.js';
import { ProjectionFields } from './projections.js';
import { QUERY_HANDLERS } from './queries.js';
import { resolvers, type GraphContext } from './resolvers.js';
import { QueryRoot } from './root.js';

export interface GraphModuleOptions {
  readonly services: QueryServices;
  readonly limits: QueryLimits;
  readonly documents: ListedDocuments;
  /** Who asks, as the gate before the graph has found out. */
  readonly principal: (request: IncomingMessage) => Principal;
  /** Errors that are nobody's but the hub's: names and codes only. */
  readonly onFailure: (error: unknown) => void;
}

/** The contract, as text. */
export function clinicalSchema(): string {
  return readFileSync(above('schema/clinical.graphql'), 'utf8');
}

@Module({})
export class GraphModule {
  static register(options: GraphModuleOptions): DynamicModule {
    return {
      module: GraphModule,
      imports: [
        CqrsModule.forRoot(),
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          path: '/graphql',
          typeDefs: clinicalSchema(),
          resolvers: {
            ...resolvers,
            Mutation: notYet,
            Subscription: {
              patientChanged: {
                subscribe: (_: unknown, given: PatientChangedArguments, context: LiveContext) =>
                  patientChanges(given, context),
                resolve: (patient: PatientNode) => patient,
              },
            },
          },
          introspection: true,
          graphiql: false,
          includeStacktraceInErrorResponses: false,
          // GET is for queries of programs on this machine, as POST is; there are no cookies that a foreign page could ride on.
          csrfPrevention: true,
          context: ({ req }: { req: IncomingMessage }): GraphContext => ({
            session: new Session(options.services),
            principal: options.principal(req),
          }),
          formatError: formatter(options.onFailure),
          plugins: [
            documentsPlugin(options.documents),
            graphRulesPlugin(),
            limitsPlugin(options.limits),
            cachingPlugin(),
          ],
        }),
      ],
      providers: [
        QueryRoot,
        ProjectionFields,
        ...MUTATIONS,
        { provide: ProjectionDesk, useValue: options.services.desk },
        { provide: SourceDesk, useValue: options.services.sourceDesk },
        ChangeSourceHandler,
        ...QUERY_HANDLERS,
        ...PROJECTION_COMMAND_HANDLERS,
      ],
    };
  }
}

function limitsPlugin(limits: QueryLimits): ApolloServerPlugin<GraphContext> {
  return {
    async requestDidStart() {
      return {
        async didResolveOperation({ schema, document, operation, request }) {
          if (operation !== undefined) checkLimits(schema, document, operation, request.variables ?? {}, limits);
        },
      };
    },
  };
}

/** An answer that stands on a basis may be kept by the one who asked, and asked for again by its ETag (RFC 9110 §8.8.3). */
function cachingPlugin(): ApolloServerPlugin<GraphContext> {
  return {
    async requestDidStart() {
      return {
        async willSendResponse({ response, contextValue }) {
          response.http.headers.set('cache-control', 'private, no-cache');
          if (contextValue.session.basis === undefined || response.body.kind !== 'single') return;
          if (response.body.singleResult.errors !== undefined) return;
          const hash = createHash('sha256').update(JSON.stringify(response.body.singleResult)).digest('base64url');
          response.http.headers.set('etag', `"${hash}"`);
        },
      };
    },
  };
}

/** Codes that are part of the contract; whatever else happens is the hub's own fault and says no more than that. */
function formatter(onFailure: (error: unknown) => void) {
  return (formatted: GraphQLFormattedError, error: unknown): GraphQLFormattedError => {
    const original = (error as GraphQLError).originalError ?? error;
    if (original instanceof GraphError || (error as Error) instanceof GraphError) {
      const { message, extensions } = original instanceof GraphError ? original : (error as GraphError);
      return { ...formatted, message, extensions: { ...extensions } };
    }
    const code = formatted.extensions?.['code'];
    if (code === undefined || code === 'INTERNAL_SERVER_ERROR') {
      onFailure(original);
      return {
        ...located(formatted),
        message: 'the hub could not answer this',
        extensions: { code: 'INTERNAL_SERVER_ERROR' },
      };
    }
    if (code === 'GRAPHQL_VALIDATION_FAILED' && /^a (?:DateTime|Position) is/.test(formatted.message)) {
      return { ...formatted, extensions: { code: 'BAD_USER_INPUT' } };
    }
    return { ...formatted, extensions: { code } };
  };
}

function located({ path: at, locations }: GraphQLFormattedError): Pick<GraphQLFormattedError, 'path' | 'locations'> {
  return { ...(at === undefined ? {} : { path: at }), ...(locations === undefined ? {} : { locations }) };
}
