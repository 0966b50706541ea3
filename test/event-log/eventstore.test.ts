import { openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { createTestDatabase } from '../support/database.js';
import { DEFAULT_MAX_APPEND_BYTES, startEventStoreDouble } from '../support/eventstore-double/double.js';
import { eventLogContract } from './contract.js';

eventLogContract('EventStoreDB (the double)', async () => {
  const database = await createTestDatabase({ empty: true });
  const server = await startEventStoreDouble();
  return {
    maxEventBytes: DEFAULT_MAX_APPEND_BYTES,
    openWriter: (options) => openEventStoreWriter(server.url, { lockUrl: database.url, waitMs: 100, ...options }),
    openReader: () => openEventStoreReader(server.url),
    destroy: async () => {
      await server.destroy();
      await database.drop();
    },
  };
});
