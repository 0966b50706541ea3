/** The project role: carries the log into every projection, and rebuilds them. */
import { openBlobStore } from '../blobs/open.js';
import { createProjections } from '../../projections/index.js';
import { CensusUpkeep } from '../../projections/master/census/upkeep.js';
import { Forgetting } from '../../projections/master/forgetting.js';
import { OpenSearchDocuments } from '../../projections/search/opensearch.js';
import { openPool } from '../database/database.js';
import { openLogReader } from '../log/open-log.js';
import { WriterMailbox } from '../log/writer-mailbox.js';
import { connectOpenSearch } from '../opensearch/connect.js';
import { counter, histogram } from '../operations/metrics.js';
import { fileKeyProvider } from '../sealing/key-provider.js';
import { KeyStore } from '../sealing/key-store.js';
import type { RoleContext, RunningRole } from '../supervisor/role.js';
import { createEventDecoder } from './decode.js';
import { DecodingThreads } from './decoding/threads.js';
import { errorWord } from './errors.js';
import { Erasures } from './erasures.js';
import { Projections } from './projections.js';
import { Throttle } from './throttle.js';

const POOL_CONNECTIONS = 6;
const BATCH_EVENTS = [1, 4, 16, 64, 256, 512, 1024, 4096];
const BATCH_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/**
 * @throws AnotherLogError, CheckpointBeyondLogError, ProjectionTablesMissingError, DefinitionChangedError: what the database holds does not
 *   fit the log or the definitions; each says what to do
 */
export async function startProjectRole(context: RoleContext): Promise<RunningRole> {
  const { config, databaseUrl, logger } = context;
  const opened: (() => Promise<unknown>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close();
  };
  try {
    const pool = openPool(databaseUrl, { max: POOL_CONNECTIONS, applicationName: 'anamnesis project' });
    opened.push(() => pool.end());
    const reader = await openLogReader({ eventLog: config.eventLog, databaseUrl });
    opened.push(() => reader.close());
    const masterKey = await fileKeyProvider(config.masterKeyFile);
    const keyStore = await KeyStore.open(pool, masterKey, { listen: databaseUrl });
    opened.push(() => keyStore.close());
    const mailbox = new WriterMailbox(databaseUrl);
    opened.push(() => mailbox.close());
    const openSearch = await connectOpenSearch(config.search);
    const definitions = createProjections({
      hashes: keyStore.hashes,
      ...(openSearch === undefined
        ? {}
        : {
            searchOutside: new OpenSearchDocuments({
              connection: openSearch,
              hashes: keyStore.hashes,
              pool,
              logId: reader.id,
            }),
          }),
    });
    const blobs = openBlobStore(config.blobs.store);
    const decoder = createEventDecoder({ keyStore, reader, blobs });
    const threads = new DecodingThreads({
      decoder,
      keys: keyStore,
      reader,
      blobs,
      threads: config.projections.threads,
      log: logger,
    });
    opened.push(() => threads.close());
    const projections = new Projections({
      databaseUrl,
      pool,
      reader,
      decoder: threads,
      mailbox,
      definitions,
      log: logger,
      ...config.projections,
      ...metrics(),
    });
    opened.push(() => projections.stop());
    const erasures = new Erasures({ databaseUrl, pool, reader, definitions, log: logger });
    opened.push(() => erasures.stop());
    // Before both stop: a request that is not answered would hold them up, and is made again at the next start.
    if (openSearch !== undefined) opened.push(() => openSearch.close());
    await projections.start();
    const forgetting = new Forgetting({ pool, reader, decoder, hashes: keyStore.hashes });
    const upkeep = new CensusUpkeep({
      pool,
      throttle: new Throttle(projections.live),
      forget: (build, epoch) => forgetting.upTo(build, epoch),
      onTrouble: (error) =>
        logger.warn({ code: errorWord(error) }, 'the master store is not kept up; it is tried again'),
    });
    opened.push(() => upkeep.stop());
    upkeep.start();
    erasures.start();
    return { addresses: {}, stop: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

function metrics(): Pick<ConstructorParameters<typeof Projections>[0], 'onBatch' | 'onRetry' | 'onParked'> {
  const events = counter('anamnesis_projection_events_total', 'Events that a projection has passed', [
    'projection',
    'mode',
  ]);
  const rows = counter('anamnesis_projection_rows_total', 'Rows that a projection has written', ['projection', 'mode']);
  const retries = counter('anamnesis_projection_retries_total', 'Batches tried again after a passing failure', [
    'projection',
  ]);
  const parked = counter('anamnesis_projection_parked_total', 'Messages that could not be applied');
  const seconds = histogram('anamnesis_projection_batch_seconds', 'Time to write a batch', BATCH_SECONDS, [
    'projection',
    'mode',
  ]);
  const sizes = histogram('anamnesis_projection_batch_events', 'Events of a batch', BATCH_EVENTS, [
    'projection',
    'mode',
  ]);
  return {
    onBatch: (batch) => {
      const labels = { projection: batch.projection, mode: batch.mode };
      events.inc(labels, batch.events);
      rows.inc(labels, batch.rows);
      sizes.observe(labels, batch.events);
      seconds.observe(labels, batch.milliseconds / 1000);
    },
    onRetry: (projection) => retries.inc({ projection }),
    onParked: (found) => parked.inc(found.length),
  };
}
