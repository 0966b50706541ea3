/**
 * The contract on the double, or on a real server: `EVENTSTORE_TEST_URL=esdb://… npm test -- event-log`. A real server keeps
 * its events; the suite writes into streams of its own behind what is there.
 */
import { openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { createTestDatabase } from '../support/database.js';
import { DEFAULT_MAX_APPEND_BYTES, startEventStoreDouble } from '../support/eventstore-double/double.js';
import { eventLogContract } from './contract.js';

const REAL = process.env['EVENTSTORE_TEST_URL'];

if (REAL !== undefined) {
  eventLogContract('EventStoreDB', async () => {
    const database = await createTestDatabase({ empty: true });
    return {
      maxEventBytes: DEFAULT_MAX_APPEND_BYTES,
      openWriter: (options) => openEventStoreWriter(REAL, { lockUrl: database.url, waitMs: 100, ...options }),
      openReader: () => openEventStoreReader(REAL),
      destroy: () => database.drop(),
    };
  });
}

eventLogContract('EventStoreDB (the double)', async () => {
  const database = await createTestDatabase({ empty: true });
  const server = await startEventStoreDouble();
  return {
    maxEventBytes: DEFAULT_MAX_APPEND_BYTES,
    openWriter: (options) => openEventStoreWriter(server.url, { lockUrl: database.url, waitMs: 100, ...options }),
    openReader: () => openEventStoreReader(server.url),
    restart: async () => {
      await server.kill();
      await server.restart();
    },
    destroy: async () => {
      await server.destroy();
      await database.drop();
    },
  };
});
