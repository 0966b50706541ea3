/** GraphQL over WebSocket on `/graphql` (the graphql-transport-ws protocol): subscriptions alone, under the rules and limits of the graph. */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  getOperationAST,
  GraphQLError,
  OperationTypeNode,
  parse,
  validate,
  type DocumentNode,
  type GraphQLSchema,
} from 'graphql';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';
import { admit, Refused, type Authentication } from '../../auth/gate.js';
import { forbiddenField } from '../../auth/graph-rules.js';
import { NOBODY, principalOf, type Principal } from '../../auth/principal.js';
import { GraphError } from '../errors.js';
import type { ListedDocuments } from '../graph/documents.js';
import { checkLimits, type QueryLimits } from '../graph/limits.js';
import { Session, type QueryServices } from '../session.js';
import type { LiveContext } from './patient-changed.js';

export interface LiveSocketOptions {
  readonly schema: GraphQLSchema;
  readonly services: QueryServices;
  readonly authentication: Authentication;
  readonly limits: QueryLimits;
  readonly documents: ListedDocuments;
  /** Errors that are nobody's but the hub's. */
  readonly onFailure: (error: unknown) => void;
  /** Names by which this server may be asked; undefined: any (who asks has a token). */
  readonly ownNames?: (host: string | undefined) => boolean;
}

const MESSAGE_BYTES = 64 * 1024;
const SUBSCRIPTIONS_A_SOCKET = 100;
const SUBSCRIPTIONS_MOST = 2_000;
/** Bytes that a client may leave unread before its connection ends: it can come again with `after`. */
const UNREAD_BYTES = 4 * 1024 * 1024;
/** Close codes (RFC 6455 §7.4.2: 4000–4999 are the application's), as graphql-ws has them. */
const FORBIDDEN = 4403;
const TOO_SLOW = 4408;
const LONGEST_TIMER_MS = 2_147_483_647;

export interface LiveSocket {
  close(): Promise<void>;
}

/** Answers upgrades of a server. */
export function openLiveSocket(server: Server, options: LiveSocketOptions): LiveSocket {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MESSAGE_BYTES,
    handleProtocols: (protocols) =>
      protocols.has(GRAPHQL_TRANSPORT_WS_PROTOCOL) ? GRAPHQL_TRANSPORT_WS_PROTOCOL : false,
  });
  const open = new WeakMap<WebSocket, number>();
  const disposable = useServer<Record<string, unknown>, { principal?: Principal }>(
    {
      schema: options.schema,
      onSubscribe: (context, _id, { query, operationName, variables }) => {
        const { socket, request } = context.extra;
        const principal = principalOf(request) ?? NOBODY;
        try {
          const count = open.get(socket) ?? 0;
          if (count >= SUBSCRIPTIONS_A_SOCKET || (options.services.changes?.size ?? 0) >= SUBSCRIPTIONS_MOST)
            throw new GraphError('QUERY_TOO_COMPLEX', `at most ${SUBSCRIPTIONS_A_SOCKET} subscriptions a connection`);
          options.documents.check(query, principal);
          const document = read(query, options.schema);
          const operation = getOperationAST(document, operationName);
          if (operation?.operation !== OperationTypeNode.SUBSCRIPTION)
            throw new GraphError('BAD_USER_INPUT', 'queries and mutations are sent over HTTP');
          checkLimits(options.schema, document, operation, variables ?? {}, options.limits);
          const forbidden = forbiddenField(options.schema, document, principal);
          if (forbidden !== undefined)
            throw new GraphError('FORBIDDEN', `${forbidden.field} is for the roles ${forbidden.roles.join(', ')}`);
          open.set(socket, count + 1);
          const contextValue: LiveContext = { session: new Session(options.services), principal };
          return {
            schema: options.schema,
            document,
            operationName: operationName ?? null,
            variableValues: variables ?? null,
            contextValue,
          };
        } catch (error) {
          if (error instanceof GraphQLError) return [error];
          throw error;
        }
      },
      onNext: (context, _id, _payload, _args, result) => {
        const { socket } = context.extra;
        if (socket.bufferedAmount > UNREAD_BYTES) socket.close(TOO_SLOW, 'the answers are not read');
        return {
          ...result,
          ...(result.errors === undefined ? {} : { errors: result.errors.map((one) => shown(one, options)) }),
        };
      },
      onError: (_context, _id, _payload, errors) => errors.map((one) => shown(one, options)),
      onComplete: (context) => {
        const { socket } = context.extra;
        open.set(socket, Math.max(0, (open.get(socket) ?? 0) - 1));
      },
    },
    sockets,
  );
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', () => socket.destroy());
    void letIn(request, options).then((refusal) => {
      if (refusal !== undefined) {
        socket.end(`HTTP/1.1 ${refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
        return;
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        endWithToken(webSocket, principalOf(request));
        sockets.emit('connection', webSocket, request);
      });
    });
  };
  server.on('upgrade', upgrade);
  return {
    async close() {
      server.off('upgrade', upgrade);
      await disposable.dispose();
      for (const client of sockets.clients) client.terminate();
      sockets.close();
    },
  };
}

/** @returns a status line where the request is refused */
async function letIn(
  request: IncomingMessage,
  { authentication, ownNames, onFailure }: LiveSocketOptions,
): Promise<string | undefined> {
  if (!/^\/graphql\/?(\?|$)/.test(request.url ?? '')) return '404 Not Found';
  if (ownNames !== undefined) {
    // A page on the web could open a socket to this machine: browsers tell whose page it is (RFC 6454), and ask by its name.
    const { host, origin } = request.headers;
    if (!ownNames(host)) return '421 Misdirected Request';
    if (origin !== undefined && !ownNames(origin.replace(/^https?:\/\//i, ''))) return '403 Forbidden';
  }
  try {
    await admit(authentication, request);
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return `${error.problem.status} ${error.problem.code}`;
    onFailure(error);
    return '500 Internal Server Error';
  }
}

/** A connection lasts no longer than the roles that let it in. */
function endWithToken(socket: WebSocket, principal: Principal | undefined): void {
  if (principal?.expiresAt === undefined) return;
  const left = Math.min(Math.max(principal.expiresAt - Date.now(), 0), LONGEST_TIMER_MS);
  const timer = setTimeout(() => socket.close(FORBIDDEN, 'the token has expired'), left);
  socket.once('close', () => clearTimeout(timer));
}

/** @throws GraphQLError */
function read(query: string, schema: GraphQLSchema): DocumentNode {
  const document = parse(query);
  const [error] = validate(schema, document);
  if (error !== undefined) throw error;
  return document;
}

/** Codes that are part of the contract; whatever else happened is the hub's own fault and says no more than that. */
function shown(error: { readonly originalError?: unknown } & object, { onFailure }: LiveSocketOptions): GraphQLError {
  const original: unknown = error.originalError ?? error;
  if (original instanceof GraphError) return original;
  if (error instanceof GraphQLError && error.originalError == null) return error;
  onFailure(original);
  return new GraphQLError('the hub could not answer this', { extensions: { code: 'INTERNAL_SERVER_ERROR' } });
}
