/** Counts the messages of the log once more, one after another, and looks for each count in the table. */
import { compareRows, type ComparedRow } from '../../src/projecting/verification/findings.js';
import type { ProjectionVerification } from '../../src/projecting/projection.js';
import { dayTable } from './tables.js';

interface Tally {
  messages: bigint;
  refused: bigint;
  last_pos: bigint;
}

export const verifyVolume: ProjectionVerification = ({ client, build, findings }) => {
  // As many entries as there are sources, days and types.
  const tallies = new Map<string, Tally>();
  return {
    page(events) {
      for (const { type, envelope, position } of events) {
        // Everything that arrives, but for the parts of a bundle, whose container is the message.
        if (!type.startsWith('inbound.') || type.endsWith('-part')) continue;
        const [day] = envelope.recordedAt.split('T');
        const key = JSON.stringify([envelope.source, day, envelope.messageType ?? '']);
        const tally = tallies.get(key) ?? { messages: 0n, refused: 0n, last_pos: 0n };
        tally.messages += 1n;
        tally.refused += envelope.validation.state === 'parked' ? 1n : 0n;
        tally.last_pos = position;
        tallies.set(key, tally);
      }
      return Promise.resolve();
    },
    async finish() {
      const expected = new Map<string, ComparedRow>();
      for (const [key, tally] of tallies) expected.set(key, { position: tally.last_pos, columns: { ...tally } });
      const { rows } = await client.query<Tally & { source: string; day: string; type: string }>(
        `select source, day, type, messages, refused, last_pos from ${dayTable(build)}`,
      );
      compareRows(
        findings,
        'volume.day',
        expected,
        rows.map(({ source, day, type, ...columns }) => [
          JSON.stringify([source, day, type]),
          { position: columns.last_pos, columns },
        ]),
      );
      return undefined;
    },
  };
};
