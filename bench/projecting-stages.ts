/**
 * Where the Node time of projecting goes: the stages of the pipeline, one after the other, over the same events, in CPU time of the process
 * (garbage collection included), without a database between them.
 */
import { copyChunks, type CopyType } from '../src/database/binary-copy.js';
import { readHl7 } from '../src/inbound/hl7/reader.js';
import type { RecordedEvent } from '../src/log/event-log.js';
import type { MessageContent } from '../src/mapping/content.js';
import { mapMessage } from '../src/mapping/map.js';
import { envelopeOf, EventDecoder } from '../src/projecting/decode.js';
import type { DecodedEvent, ProjectionDefinition, TableRows } from '../src/projecting/projection.js';
import { openBody } from '../src/sealing/body.js';
import type { KeyStore } from '../src/sealing/key-store.js';
import type { Figures } from './support.js';

const ROUNDS = 5;
/** Events of a page, as a rebuild reads them. */
const PAGE_EVENTS = 1_000;
const BUILD = 1;

/** @param definitions those whose `apply` needs nothing of the database are measured */
export async function projectingStages(
  events: readonly RecordedEvent[],
  keys: KeyStore,
  definitions: readonly ProjectionDefinition[],
): Promise<Figures> {
  const ids = [...new Set(events.map((event) => envelopeOf(event).keyId ?? ''))];
  const found = await keys.keysById(ids);
  const stub = { keysById: () => Promise.resolve(found) };
  const reader = { readPage: () => Promise.resolve([]) };
  const nothing = { facts: [], notes: [], unmapped: [] };
  const parse = (bytes: Buffer, charset: string | undefined): ReturnType<typeof readHl7> =>
    readHl7(bytes, charset === undefined ? {} : { charsetOverride: charset });
  const decoder = (read: typeof readHl7, map: typeof mapMessage): EventDecoder =>
    new EventDecoder({ keys: stub, reader, openBody, readHl7: read, mapMessage: map });
  const unread = readHl7(Buffer.from('MSH|^~\\&|'));
  const opening = decoder(
    () => unread,
    () => nothing,
  );
  const whole = decoder(readHl7, mapMessage);
  const pages: RecordedEvent[][] = [];
  for (let from = 0; from < events.length; from += PAGE_EVENTS) pages.push(events.slice(from, from + PAGE_EVENTS));
  const opened: DecodedEvent[][] = [];
  for (const page of pages) opened.push(await opening.decode(page));
  const contents = opened.map((page) =>
    page.flatMap((event) =>
      event.body.state === 'open' ? [{ event, bytes: event.body.content, charset: event.body.header.charset }] : [],
    ),
  );
  const decoded: DecodedEvent[][] = [];
  for (const page of pages) decoded.push(await whole.decode(page));
  const pure = definitions.filter((definition) => definition.load === undefined);
  const applied = pure.map((definition) =>
    decoded.map((page) => definition.apply(page, { mode: 'rebuild', loaded: undefined }, BUILD)),
  );

  const stages: Record<string, () => Promise<void>> = {
    envelopeAndOpen: async () => {
      for (const page of pages) await opening.decode(page);
    },
    parse: async () => {
      for (const page of contents) for (const { bytes, charset } of page) parse(bytes, charset);
    },
    parseAndMap: async () => {
      for (const page of contents) {
        for (const { event, bytes, charset } of page) {
          const content: MessageContent = { kind: 'hl7v2', message: parse(bytes, charset) };
          mapMessage(content, {
            sourceRecordId: event.envelope.sourceRecordId ?? '',
            records: {},
            timeZone: 'UTC',
            recordedAt: event.envelope.recordedAt,
            messageId: event.id,
            defaultAuthority: event.envelope.source,
          });
        }
      }
    },
  };
  pure.forEach((definition, index) => {
    stages[`${definition.name}Apply`] = async () => {
      for (const page of decoded) definition.apply(page, { mode: 'rebuild', loaded: undefined }, BUILD);
    };
    stages[`${definition.name}Encode`] = async () => {
      for (const tables of applied[index] as (readonly TableRows[])[]) {
        for (const { types, rows } of tables) {
          for (const chunk of copyChunks(types as CopyType[], rows)) if (chunk.length === 0) throw new Error('empty');
        }
      }
    };
  });
  const values: Record<string, number[]> = {};
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, work] of Object.entries(stages)) {
      const before = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(before);
      // The first round warms up.
      if (round > 0) (values[name] ??= []).push((user + system) / events.length);
    }
  }
  return Object.fromEntries(
    Object.entries(values).map(([name, list]) => [`cpu.${name}`, { values: list, unit: 'µs/event', goal: '' }]),
  );
}
