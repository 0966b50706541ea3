/** The query role: GraphQL, receipts, health and metrics over HTTP. It reads; what it changes goes to the writer through the mailbox. */
import { NestFactory } from '@nestjs/core';
import { GraphQLSchemaHost } from '@nestjs/graphql';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { createHash } from 'node:crypto';
import type { NextFunction, Request, Response } from 'express';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { gate } from '../auth/gate.js';
import { NOBODY, principalOf } from '../auth/principal.js';
import { Forgetting } from '../../projections/master/forgetting.js';
import { authenticationOf, openHttpsCredentials } from '../auth/setup.js';
import { mountAnalytics } from '../analytics/analytics-server.js';
import { openBlobStore } from '../blobs/open.js';
import { openPool } from '../database/database.js';
import { readHl7 } from '../inbound/hl7/reader.js';
import { PROBLEMS, sendProblem } from '../inbound/http/problem.js';
import { SourceFollower } from '../inbound/sources/follower.js';
import { sourceDefaults } from '../inbound/sources/defaults.js';
import { proveInclusion } from '../log/evidence/proof.js';
import { openLogReader } from '../log/open-log.js';
import { POSTGRES_LOG_HEAD } from '../log/postgres/index.js';
import { WriterMailbox } from '../log/writer-mailbox.js';
import { mapMessage } from '../mapping/map.js';
import { connectOpenSearch } from '../opensearch/connect.js';
import { operationsRoutes } from '../operations/routes.js';
import { recordSchemas } from '../projecting/plan.js';
import { ProjectionDesk } from '../projecting/commands.js';
import { SourceCodes } from '../projecting/source-codes.js';
import { EventDecoder } from '../projecting/decode.js';
import { Watermarks } from '../projecting/watermark.js';
import { openBody } from '../sealing/body.js';
import { fileKeyProvider } from '../sealing/key-provider.js';
import { KeyStore } from '../sealing/key-store.js';
import type { RoleContext, RunningRole } from '../supervisor/role.js';
import { BasisResolver } from './basis/basis.js';
import { fhirRoutes } from './fhir/routes.js';
import { ListedDocuments } from './graph/documents.js';
import { GraphModule } from './graph/graph.module.js';
import { MutationMemory } from './graph/mutations/once.js';
import { KeyDesk } from './key-desk.js';
import { LetterDesk } from './letter-desk.js';
import { OperationsView } from './operations-view.js';
import { receiptRoutes } from './receipts.js';
import { servedSchemas } from './served-schemas.js';
import { SearchDesk } from './search/desk.js';
import { OpenSearchEngine } from './search/opensearch-engine.js';
import { openSearchPool, PostgresSearchEngine } from './search/postgres-engine.js';
import { Synonyms } from './search/synonyms.js';
import type { QueryServices } from './session.js';
import { SourceDesk } from './source-desk.js';
import { SourceTrials } from './source-trials.js';
import { IdentityResolver } from '../identity/resolver.js';
import { LiveSourceList } from './sources.js';
import { START_PAGE } from './start-page.js';
import { ChangeFeed } from './live/changes.js';
import { openLiveSocket } from './live/socket.js';
import { MasterStore, openPointPool } from './store/master-store.js';

/** Connections to PostgreSQL for questions; one more listens for progress. */
const CONNECTIONS = 8;
/** How long slow clients may hold up a stop. */
const CLOSE_TIMEOUT_MS = 4_000;

/** @throws where the address is taken, the database is away, or the key file does not open the keys */
export async function startQueryRole(context: RoleContext): Promise<RunningRole> {
  const { config, databaseUrl, logger } = context;
  const pool = openPool(databaseUrl, { max: CONNECTIONS, applicationName: 'anamnesis query' });
  const searchPool = openSearchPool(databaseUrl);
  const kek = await fileKeyProvider(config.masterKeyFile);
  const keys = await KeyStore.open(pool, kek, { listen: databaseUrl });
  const reader = await openLogReader({ eventLog: config.eventLog, databaseUrl });
  const watermarks = await Watermarks.open(pool, databaseUrl);
  const mailbox = new WriterMailbox(databaseUrl);
  const decoder = new EventDecoder({
    keys,
    reader,
    blobs: openBlobStore(config.blobs.store),
    unreachable: 'tell',
    codes: new SourceCodes(reader),
    openBody,
    readHl7,
    mapMessage: (content, mapping) => mapMessage(content, mapping, { rules: true }),
  });
  const defaults = sourceDefaults(config);
  const directory = await SourceFollower.open({
    pool,
    url: databaseUrl,
    defaults,
    file: config.sources,
    onTrouble: (error) => logger.warn({ err: error }, 'sources could not be looked up; it goes on trying'),
  });
  const sources = new LiveSourceList({ directory, reader, pool, defaults, file: config.sources });
  const points = openPointPool(databaseUrl);
  const store = new MasterStore(pool, points);
  const forgetting = new Forgetting({ pool, reader, decoder, hashes: keys.hashes });
  const basis = new BasisResolver({
    pool: points,
    logId: reader.id,
    logHead: config.eventLog === 'postgres' ? POSTGRES_LOG_HEAD : () => reader.head(),
    moved: (watermark, timeoutMs) => watermarks.waitUntilProjected('master', watermark + 1n, timeoutMs),
    forget: (build, epoch) => forgetting.upTo(build, epoch),
  });
  const changes = new ChangeFeed({
    basis,
    store,
    onTrouble: (error) => logger.warn({ err: error }, 'changes could not be looked up; it goes on trying'),
  });
  const openSearch = await connectOpenSearch(config.search);
  const services: QueryServices = {
    store,
    basis,
    changes,
    operations: new OperationsView(pool, reader),
    reader,
    decoder,
    hashes: keys.hashes,
    sources,
    keyDesk: new KeyDesk(pool, mailbox),
    letterDesk: new LetterDesk(pool, mailbox, keys),
    sourceDesk: new SourceDesk(mailbox, sources, directory),
    trials: new SourceTrials(
      {
        tenant: config.tenant,
        hashes: keys.hashes,
        identity: IdentityResolver.open({ pool, hashes: keys.hashes, strict: config.identity.strict, cacheSize: 0 }),
      },
      directory,
      defaults,
    ),
    proofs: { of: (position) => proveInclusion({ pool, reader }, position) },
    search: new SearchDesk({
      pool,
      watermarks,
      postgres: new PostgresSearchEngine(searchPool),
      ...(openSearch === undefined ? {} : { openSearch: new OpenSearchEngine(openSearch) }),
      synonyms: Synonyms.load(config.searchSynonyms),
    }),
    desk: new ProjectionDesk(pool, reader, mailbox, keys.hashes),
    mutations: new MutationMemory(pool, keys.hashes, (error) =>
      logger.warn({ err: error }, 'the answer of a change could not be remembered; the log remembers the change'),
    ),
  };
  const { file: listed, only } = config.queries;
  const documents = listed === undefined ? ListedDocuments.none() : ListedDocuments.load(listed, only);
  const limits = { depth: config.limits.queryDepth, cost: config.limits.queryCost };
  // The public port is this role's own only where no ingest role stands before it.
  const tls = context.proxySecret === undefined ? await openHttpsCredentials(context) : undefined;
  const app = await NestFactory.create<NestExpressApplication>(
    GraphModule.register({
      services,
      principal: (request) => principalOf(request) ?? NOBODY,
      limits,
      documents,
      onFailure: (error) => logger.error({ err: error }, 'a query failed'),
    }),
    {
      logger: false,
      abortOnError: false,
      bodyParser: false,
      // The rest of what TLS needs comes with `follow`, before anybody is listened to.
      ...(tls === undefined ? {} : { httpsOptions: {} }),
    },
  );
  app.useBodyParser('json', { limit: config.limits.httpBodyBytes });
  const express = app.getHttpAdapter().getInstance();
  express.disable('x-powered-by');
  if (config.auth.mode === 'loopback') app.use(refuseForeignHosts);
  app.use(gate(authenticationOf(context), (reason) => logger.warn({ reason }, 'a request was not let in')));
  app.use(operationsRoutes({ pool, supervisor: context.supervisor }));
  app.use(receiptRoutes({ pool, watermarks, hashes: keys.hashes }));
  app.use(
    fhirRoutes({
      services,
      onFailure: (error) => logger.error({ err: error }, 'a FHIR request could not be answered'),
    }),
  );
  const analytics = await mountAnalytics(express, {
    analystDatabaseUrl: context.analystDatabaseUrl,
    hub: pool,
    hashes: keys.hashes,
    ...config.anonymized,
    onFailure: (error) => logger.error({ err: error }, 'a question about populations failed'),
  });
  app.use(startPage);
  app.use((request: Request, response: Response, next: NextFunction) => {
    if (request.path === '/graphql') next();
    else sendProblem(response, PROBLEMS.notFound);
  });
  await app.init();
  express.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    logger.error({ err: error }, 'a request failed');
    sendProblem(response, { ...PROBLEMS.internal, title: 'The hub failed to answer' });
  });
  const { host, port } = context.listen;
  const server = app.getHttpServer();
  const unfollow = server instanceof https.Server ? tls?.follow(server) : undefined;
  const { schema } = app.get(GraphQLSchemaHost);
  for (const hash of documents.unanswerable(schema))
    logger.warn({ hash }, 'a listed document is no question to this graph: it is refused');
  const live = openLiveSocket(server, {
    schema,
    documents,
    services,
    authentication: authenticationOf(context),
    limits,
    onFailure: (error) => logger.error({ err: error }, 'a subscription failed'),
    ...(config.auth.mode === 'loopback' ? { ownNames: isOwnName } : {}),
  });
  await app.listen(port, host);
  const address = server.address() as AddressInfo;
  await recordSchemas(pool, servedSchemas());
  return {
    addresses: {
      http: `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    },
    async stop() {
      await live.close();
      await changes.close();
      server.closeIdleConnections();
      const late = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS);
      await app.close();
      clearTimeout(late);
      unfollow?.();
      tls?.close();
      await analytics.close();
      await openSearch?.close();
      await mailbox.close();
      await directory.close();
      await watermarks.close();
      await keys.close();
      await reader.close();
      await searchPool.end();
      await points.end();
      await pool.end();
    },
  };
}

const OWN_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]', '::1']);

function isOwnName(host: string | undefined): boolean {
  const name = host?.replace(/:\d+$/, '').toLowerCase();
  return name === undefined || OWN_NAMES.has(name) || /^127\.\d+\.\d+\.\d+$/.test(name);
}

/**
 * Without a login only programs of this machine may ask. A page on the web whose name was made to point here could read everything: its
 * requests carry that name (DNS rebinding).
 */
export function refuseForeignHosts(request: Request, response: Response, next: NextFunction): void {
  if (isOwnName(request.headers.host)) return next();
  sendProblem(response, { status: 421, code: 'MISDIRECTED', title: 'This hub answers on its loopback names only' });
}

const PAGE_POLICY = `default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'sha256-${createHash(
  'sha256',
)
  .update(/<script>([\s\S]*?)<\/script>/.exec(START_PAGE)?.[1] ?? '')
  .digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

function startPage(request: Request, response: Response, next: NextFunction): void {
  if (request.path !== '/' || (request.method !== 'GET' && request.method !== 'HEAD')) return next();
  response
    .status(200)
    .set({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': PAGE_POLICY,
      'cache-control': 'no-cache',
    })
    .send(START_PAGE);
}
