import { openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { createTestDatabase } from '../support/database.js';
import { startEventStoreDouble } from '../support/eventstore-double/double.js';
import { eventLogUnderFaults } from './faults.js';

/** Opening connects first, in time that a busy machine needs. */
const CALLS_PER_ANSWER = 4;

eventLogUnderFaults('EventStoreDB (the double)', async () => {
  const database = await createTestDatabase();
  const server = await startEventStoreDouble();
  const through = ({ host, port }: { host: string; port: number }): string => `esdb://${host}:${port}?tls=false`;
  return {
    target: { host: '127.0.0.1', port: server.port },
    pool: database.pool,
    // The type of the record that makes a round count.
    lastRequest: 'anamnesis.round',
    openWriter: (via, answerMs) =>
      openEventStoreWriter(through(via), { lockUrl: database.url, timeoutMs: CALLS_PER_ANSWER * answerMs }),
    openReader: (via, answerMs) => openEventStoreReader(through(via), { timeoutMs: CALLS_PER_ANSWER * answerMs }),
    destroy: async () => {
      await server.destroy();
      await database.drop();
    },
  };
});
