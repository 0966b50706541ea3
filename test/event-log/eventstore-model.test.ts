import { openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { createTestDatabase } from '../support/database.js';
import { DEFAULT_MAX_APPEND_BYTES, startEventStoreDouble } from '../support/eventstore-double/double.js';
import { startFaultProxy } from '../support/fault-proxy.js';
import { eventLogModel } from './model.js';

const RUNS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 2_000 : 30;

eventLogModel(
  'EventStoreDB (the double)',
  async () => {
    const database = await createTestDatabase({ empty: true });
    const server = await startEventStoreDouble();
    const proxy = await startFaultProxy({ target: { host: '127.0.0.1', port: server.port }, random: () => 0 });
    const url = `esdb://${proxy.host}:${proxy.port}?tls=false`;
    return {
      maxEventBytes: DEFAULT_MAX_APPEND_BYTES,
      openWriter: (options) => openEventStoreWriter(url, { lockUrl: database.url, waitMs: 100, ...options }),
      openReader: () => openEventStoreReader(server.url),
      cut: async () => proxy.cut(),
      destroy: async () => {
        await proxy.close();
        await server.destroy();
        await database.drop();
      },
    };
  },
  RUNS,
);
