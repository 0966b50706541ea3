/**
 * The ingest role: the sockets that senders use, the intake, and the log's only writer (docs/architecture.md §2). Everything that is not
 * inbound is passed to the query role.
 */
import 'reflect-metadata';
import { collectOrphans } from '../blobs/orphans.js';
import { BlobKeeper } from '../blobs/keeper.js';
import { openBlobStore } from '../blobs/open.js';
import { authenticationOf, openHttpsCredentials } from '../auth/setup.js';
import { openPool, SHORT_STATEMENTS_SILENCE_MS } from '../database/database.js';
import { IdentityResolver } from '../identity/resolver.js';
import { startTreeKeeper, witnessed } from '../log/evidence/start.js';
import { openLogWriter } from '../log/open-log.js';
import { DiskGuard } from '../log/disk-guard.js';
import type { EventLogWriter } from '../log/event-log.js';
import { LogMeter } from '../log/meter.js';
import { serveMailbox } from '../log/writer-mailbox.js';
import { LogWriter } from '../log/writer.js';
import { projectionMailboxHandlers } from '../projecting/mailbox-handlers.js';
import { fileKeyProvider } from '../sealing/key-provider.js';
import { KeyKeeper } from '../sealing/key-keeper.js';
import { KeyStore } from '../sealing/key-store.js';
import type { RoleContext, RunningRole } from '../supervisor/role.js';
import { MessageRegister } from './duplicates.js';
import { FolderWatch } from './files/watch.js';
import { nextOf } from './http/request-source.js';
import { startInboundHttp } from './http/server.js';
import { measured } from './inbound-metrics.js';
import { IntakePipeline } from './intake/pipeline.js';
import { startLetters } from './letters/index.js';
import { MllpListeners } from './mllp/listeners.js';
import { measureApplicationAcks, measureMllp } from './mllp/metrics.js';
import { ApplicationAcks } from './returns/application-acks.js';
import { createEventDecoder } from '../projecting/decode.js';
import { restoreIdentity } from '../identity/restore.js';
import { recoverRegister } from './recovery.js';
import { observed, SourceActivity } from './sources/activity.js';
import { SourceBook, sourceMailboxHandlers } from './sources/book.js';
import { SourceGate } from './sources/gate.js';
import { sourceDefaults } from './sources/defaults.js';
import { resolveSource } from './source.js';

/** Of sessions that look up a few keys in tables that grow from nothing: by their indexes, and without planning it anew each time. */
const SHORT_LOOKUPS = { byIndexes: true, plannedOnce: true } as const;

/** Closes what was opened, last first; goes on where one fails. */
class Opened {
  private readonly closers: (() => Promise<unknown>)[] = [];

  add(close: () => Promise<unknown>): void {
    this.closers.push(close);
  }

  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** @throws where the log has another writer, the master key is not the one of this data, or an address is taken */
export async function startIngestRole(context: RoleContext): Promise<RunningRole> {
  const opened = new Opened();
  try {
    return await start(context, opened);
  } catch (error) {
    await opened
      .close()
      .catch((failure: unknown) => context.logger.warn({ err: failure }, 'closing after a failed start'));
    throw error;
  }
}

/** Where the log stands on a disk of this machine. */
function guarded(log: EventLogWriter, config: RoleContext['config']): EventLogWriter {
  if (config.eventLog !== 'postgres' || config.databaseUrl !== undefined) return log;
  return new DiskGuard({ folder: config.dataDir, reserveBytes: config.limits.diskReserveBytes }).guarding(log);
}

async function start(context: RoleContext, opened: Opened): Promise<RunningRole> {
  const { config, databaseUrl, logger } = context;
  const pool = openPool(databaseUrl, {
    max: 6,
    applicationName: 'anamnesis ingest',
    silenceMs: SHORT_STATEMENTS_SILENCE_MS,
  });
  opened.add(() => pool.end());
  // What is written here can be made again from the log.
  const relaxed = openPool(databaseUrl, {
    max: 3,
    applicationName: 'anamnesis ingest register',
    silenceMs: SHORT_STATEMENTS_SILENCE_MS,
    relaxedCommit: true,
    ...SHORT_LOOKUPS,
  });
  opened.add(() => relaxed.end());

  const masterKey = await fileKeyProvider(config.masterKeyFile);
  if (masterKey.created) {
    logger.warn(
      'a master key was made: keep a copy of the key file away from the data directory, without it nothing can be read',
    );
  }
  // Only where the log's own synchronous commit follows on the same server.
  const withLog = config.eventLog === 'postgres';
  const keys = await KeyStore.open(pool, masterKey, { listen: databaseUrl, ...(withLog ? { relaxed } : {}) });
  opened.add(() => keys.close());

  const log = await openLogWriter({ eventLog: config.eventLog, databaseUrl });
  opened.add(() => log.close());
  const keeper = await startTreeKeeper({ config, pool, masterKey, reader: log, logger });
  opened.add(() => keeper.close());
  const meter = new LogMeter();
  meter.start(relaxed);
  opened.add(() => meter.close());
  const writer = await LogWriter.open({
    log: witnessed(meter.metering(guarded(log, config)), keeper),
    pool,
    tenant: config.tenant,
    onTrouble: (error) => logger.warn({ err: error }, 'the log is in trouble; the writer goes on trying'),
  });
  opened.add(() => writer.close());
  let stopping = false;
  void writer.ended.then((reason) => {
    if (reason === undefined || stopping) return;
    logger.fatal({ err: reason }, 'the writer has ended');
    // Another writer has taken over: nothing this process does counts any more, and its supervisor decides what comes next.
    setImmediate(() => {
      throw reason;
    });
  });

  const blobStore = openBlobStore(config.blobs.store);
  const blobKeeper = new BlobKeeper({ pool, store: blobStore, reader: log, fence: writer.fencedAt });
  // Messages that fit the log are taken all the same; the others are refused until the store is there.
  await blobKeeper.prepare().catch((error: unknown) => logger.error({ err: error }, 'the blob store cannot be used'));
  opened.add(collectOrphans(blobKeeper, logger));

  const decoder = createEventDecoder({ keyStore: keys, reader: log, blobs: blobStore });
  const restored = await restoreIdentity({ pool, reader: log, decoder });
  if (restored) logger.warn('the identity tables were empty and were made again from the log');
  const together = openPool(databaseUrl, {
    max: 1,
    applicationName: 'anamnesis ingest identity',
    silenceMs: SHORT_STATEMENTS_SILENCE_MS,
    pipelined: true,
    ...SHORT_LOOKUPS,
  });
  opened.add(() => together.end());
  const identity = IdentityResolver.open({
    pool: together,
    hashes: keys.hashes,
    strict: config.identity.strict,
    relaxedCommit: withLog,
  });
  const register = new MessageRegister(relaxed);
  const pipeline = new IntakePipeline({
    tenant: config.tenant,
    hashes: keys.hashes,
    keys,
    identity,
    writer: meter.waiting(writer),
    register,
    unreadable: register.unreadable,
    blobs: {
      inlineBytes: config.blobs.inlineBytes,
      put: (bodies) => blobKeeper.put(bodies),
      named: (blobs) => blobKeeper.named(blobs),
    },
    recover: () => recoverRegister({ reader: log, keys, register }),
    onFailure: (stage, error) => logger.error({ err: error, reason: stage }, 'a batch failed on its way in'),
  });
  await pipeline.recover();
  opened.add(() => pipeline.close());

  const sources = await SourceBook.open({
    pool,
    reader: log,
    writer,
    hashes: keys.hashes,
    tenant: config.tenant,
    defaults: sourceDefaults(config),
    file: config.sources,
    onTrouble: (error) => logger.warn({ err: error }, 'a source could not be told to others; it goes on trying'),
  });
  opened.add(() => sources.close());
  for (const id of sources.differing()) {
    logger.warn(
      { source: id },
      'the configuration file says otherwise about a source: `sources show` has the difference',
    );
  }

  const keyKeeper = new KeyKeeper({ pool, kek: masterKey, tenant: config.tenant, reader: log, writer, logger });
  await keyKeeper.start();
  opened.add(() => keyKeeper.close());

  const letters = await startLetters({
    pool,
    reader: log,
    keys,
    decoder,
    writer,
    pipeline,
    tenant: config.tenant,
    source: (id) => sources.find(id) ?? resolveSource(id, 1, {}, { timeZone: config.timeZone }),
    onTrouble: (error) => logger.warn({ err: error }, 'lines of dead letters are looked at again later'),
  });
  opened.add(() => letters.stop());
  const mailbox = serveMailbox(
    databaseUrl,
    {
      ...projectionMailboxHandlers({ writer, reader: log, hashes: keys.hashes, tenant: config.tenant }),
      ...sourceMailboxHandlers(sources),
      ...keyKeeper.handlers(),
      ...letters.handlers,
    },
    { onTrouble: (error) => logger.warn({ err: error }, 'the mailbox is in trouble; it goes on trying') },
  );
  opened.add(() => mailbox.close());

  const gate = new SourceGate((id) => pipeline.pendingOf(id));
  const activity = new SourceActivity();
  activity.start(relaxed, (error) => logger.warn({ err: error }, 'what sources do could not be noted'));
  opened.add(() => activity.stop());
  const intake = observed(measured(pipeline), activity);
  const tls = await openHttpsCredentials(context);
  if (tls !== undefined) opened.add(async () => tls.close());
  const http = await startInboundHttp({
    sources,
    gate,
    bodyBytes: config.limits.httpBodyBytes,
    eventBytes: config.limits.eventBytes,
    listen: context.listen,
    intake,
    queryAddress: () => context.queryAddress,
    remembered: () => pipeline.remembered(),
    authentication: authenticationOf(context),
    onRefusal: (reason) => logger.warn({ reason }, 'a request was not let in'),
    ...(context.proxySecret === undefined ? {} : { proxySecret: context.proxySecret }),
    ...(tls === undefined ? {} : { tls }),
    behindProxy: config.behindProxy,
  });
  opened.add(() => http.close());
  const folders = new FolderWatch({
    sources,
    intake: http.intake,
    eventBytes: config.limits.eventBytes,
    admit: (id, stopped) => nextOf({ sources, gate }, id, stopped),
    onRefused: (id, count) => activity.refused(id, count),
    onTrouble: (source, error) => logger.warn({ err: error, source }, 'a watched folder is in trouble'),
  });
  opened.add(() => folders.close());
  const hubTls = config.tls === undefined ? {} : { tls: config.tls };
  const applicationAcks = await ApplicationAcks.open({
    sources,
    pool,
    relaxed,
    databaseUrl,
    reader: log,
    decoder,
    remembered: () => pipeline.remembered(),
    logger,
    ...hubTls,
  });
  opened.add(() => applicationAcks.close());
  const mllp = await MllpListeners.open({
    sources,
    intake: applicationAcks.over(http.intake),
    traffic: {
      pace: (source) => gate.pace(source),
      connected: (id, change) => activity.connected(id, change),
    },
    sharedLimits: {
      maxConnections: config.limits.mllpConnections,
      maxConnectionsPerAddress: config.limits.mllpConnectionsPerAddress,
    },
    behindProxy: config.behindProxy,
    logger,
    ...hubTls,
  });
  opened.add(() => mllp.stop());
  measureMllp(mllp);
  measureApplicationAcks(applicationAcks);

  // A source that is disabled is not listened for.
  const mllpAddress = mllp.address('mllp');
  const addresses = { http: http.url, ...(mllpAddress === undefined ? {} : { mllp: mllpAddress }) };
  logger.info(addresses, 'messages are taken');
  return {
    addresses,
    async stop() {
      stopping = true;
      // Both doors close at once; what is inside is answered before the writer ends.
      await Promise.all([mllp.stop(), http.close(), folders.close()]);
      await opened.close();
    },
  };
}
