/** After any history a rebuild in batches of any size, decoded on any number of threads, gives what the live run gave, row for row, and holds the same back. */
import { afterEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import path from 'node:path';
import { createProjections } from '../../projections/index.js';
import { dropBuild, finishLoad, installBuild } from '../../src/projecting/builds.js';
import { createEventDecoder } from '../../src/projecting/decode.js';
import { DecodingThreads } from '../../src/projecting/decoding/threads.js';
import { EventFeed } from '../../src/projecting/feed.js';
import { Parkings } from '../../src/projecting/parkings.js';
import { EventRejected, type Build, type ProjectionDefinition } from '../../src/projecting/projection.js';
import { ProjectionWorker } from '../../src/projecting/worker.js';
import { hl7 } from '../inbound/support.js';
import { LetterHub } from '../letters/support.js';
import { ROOT } from '../support/hub-process.js';
import { contentOf, quiet } from './support.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const HISTORIES = FULL ? 12 : 2;
const MOST_STEPS = FULL ? 120 : 45;
const LONG_MS = 1_200_000;
const PEOPLE = 5;

let hub: LetterHub | undefined;
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});

type Step =
  | {
      readonly kind: 'admit' | 'update' | 'cancel' | 'result' | 'poison';
      readonly person: number;
      /** Clinical time; messages come in any order of it. */
      readonly minute: number;
      readonly word: string;
    }
  | { readonly kind: 'merge'; readonly person: number; readonly away: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'settle'; readonly how: 'replay' | 'correct' | 'discard' };

const person = fc.integer({ min: 0, max: PEOPLE - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom('admit', 'update', 'cancel', 'result', 'poison'),
      person,
      minute: fc.integer({ min: 0, max: 9 }),
      word: fc.constantFrom('F', 'C', 'D', '""', 'Springfield', ''),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('merge'), person, away: person }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'refused' }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('settle'), how: fc.constantFrom('replay', 'correct', 'discard') }),
  },
);

/** Refuses what says so, while it is told to. */
function picky(definition: ProjectionDefinition, refuses: () => boolean): ProjectionDefinition {
  return {
    ...definition,
    apply: (batch, context, build) => {
      const bad = refuses() ? batch.find(({ mapped }) => JSON.stringify(mapped.facts).includes('poison')) : undefined;
      if (bad !== undefined) throw new EventRejected(bad.id, 'TEST_REJECTED', 'data.colour');
      return definition.apply(batch, context, build);
    },
  };
}

let sent = 0;
function message(type: string, minute: number, ...segments: string[]): ReturnType<typeof hl7> {
  sent += 1;
  const at = `20260301100${minute}00`;
  return hl7(
    [`MSH|^~\\&|ADT|MERCY|HUB|H|${at}||${type}|${sent}|P|2.5.1`, `EVN||${at}||||${at}`, ...segments].join('\n'),
  );
}

async function carryOut(running: LetterHub, one: Step): Promise<void> {
  const pid = (of: number, city = ''): string =>
    `PID|1||M${of}^^^MERCY^MR||Okafor^Ada${of}||198${of}0101|F|||1 Main St^^${city}^IL`;
  switch (one.kind) {
    case 'admit':
      await running.send(
        message(
          'ADT^A01',
          one.minute,
          pid(one.person, one.word),
          `PV1|1|I|4E^${one.minute}^1||||||||||||||||V${one.person}`,
        ),
      );
      return;
    case 'update':
      await running.send(
        message(
          'ADT^A08',
          one.minute,
          pid(one.person, one.word),
          `PV1|1|I|5W^${one.minute}^2||||||||||||||||V${one.person}`,
        ),
      );
      return;
    case 'cancel':
      await running.send(message('ADT^A11', one.minute, pid(one.person), `PV1|1|I|||||||||||||||||V${one.person}`));
      return;
    case 'result': {
      const status = ['F', 'C', 'D'].includes(one.word) ? one.word : 'F';
      const at = `20260301090${one.minute}00`;
      await running.send(
        message(
          'ORU^R01',
          one.minute,
          pid(one.person),
          `OBR|1||W${one.person}|24323-8^Metabolic panel^LN|||${at}`,
          `OBX|1|NM|2823-3^Potassium^LN||${3 + one.minute / 10}|mmol/L||||${status}|||||${at}`,
        ),
      );
      return;
    }
    case 'poison':
      await running.send(running.event(`M${one.person}`, 'poison'));
      return;
    case 'merge':
      if (one.person !== one.away)
        await running.send(message('ADT^A40', 0, pid(one.person), `MRG|M${one.away}^^^MERCY^MR`));
      return;
    case 'refused':
      await running.send(running.event('', 'green', { patient: {} }));
      return;
    case 'settle': {
      await running.quiet();
      const letter = (await running.letterRows()).find(({ status }) => status === 'PARKED');
      if (letter === undefined) return;
      if (one.how === 'correct') await running.correct(letter.message_id, running.event('M0', 'green'));
      if (one.how === 'discard') await running.discard(letter.message_id, 'not ours');
      else await running.replay([letter.message_id]);
    }
  }
}

/** Builds all projections once more beside those that serve, side by side, in pages of that size, decoded on so many threads. */
async function rebuilt(running: LetterHub, maxEvents: number, decodedOn: number): Promise<ReadonlyMap<string, Build>> {
  const { database, reader, keys, blobs } = running.hub;
  const parkings = await Parkings.load(database.pool);
  const threads = new DecodingThreads({
    decoder: createEventDecoder({ keyStore: keys, reader, blobs }),
    keys,
    reader,
    blobs,
    threads: decodedOn,
    fromEvents: 1,
    module: path.join(ROOT, 'dist/src/projecting/decoding/decode-thread.js'),
    log: quiet,
  });
  const feed = new EventFeed({ reader, decoder: threads, maxEvents });
  const builds = new Map<string, Build>();
  await Promise.all(
    running.definitions.map(async (definition) => {
      const { pool } = database;
      const build = await installBuild(pool, definition, reader.id, { state: 'building', serving: false });
      if (build === undefined) throw new Error('a rebuild is under way');
      builds.set(definition.name, build);
      const loading = definition.bulk !== undefined;
      const lane = { definition, build, lane: 0, mode: 'rebuild' as const, loading };
      const worker = new ProjectionWorker({ databaseUrl: database.url, lane, parkings });
      // As far as the live run had come: it is stopped, and a decision of another role may stand behind.
      const { rows } = await pool.query<{ position: bigint }>(
        'select position from hub.checkpoint where projection = $1 and version = 1',
        [definition.name],
      );
      const until = rows[0]?.position;
      const place = feed.join(0n);
      for (let page = await feed.readAfter(0n, until, place); page !== undefined;) {
        await worker.process(page);
        place.moveTo(page.last);
        page = await feed.readAfter(page.last, until, place);
      }
      place.leave();
      await worker.close();
      await finishLoad(pool, definition, build, new AbortController().signal);
    }),
  );
  await feed.close();
  await threads.close();
  return builds;
}

test(
  'messages late, corrected, merged, cancelled, parked and replayed: every table of a rebuild is that of the live run, whatever the batches and threads',
  async () => {
    let refuses = true;
    hub = await LetterHub.open(({ keys }) =>
      createProjections({ hashes: keys.hashes }).map((definition) => picky(definition, () => refuses)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 15, maxLength: MOST_STEPS }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 2 }),
        async (history, maxEvents, threads) => {
          refuses = true;
          for (const [index, one] of history.entries()) {
            // What could not be applied can be from here on: replays go through, and new ones are taken at once.
            if (index === Math.floor(history.length / 2)) {
              await hub?.quiet();
              refuses = false;
            }
            await carryOut(hub as LetterHub, one);
          }
          await hub?.quiet();
          hub = await hub?.restart(async ({ pool }) => {
            const running = hub as LetterHub;
            const builds = await rebuilt(running, maxEvents, threads);
            for (const definition of running.definitions) {
              const build = builds.get(definition.name) as Build;
              expect(await contentOf(pool, definition, build)).toEqual(await contentOf(pool, definition, 1));
              expect(await running.held(definition.name, build)).toEqual(await running.held(definition.name, 1));
              await dropBuild(pool, definition, build);
            }
          });
        },
      ),
      { numRuns: HISTORIES, endOnFailure: true, ...(FULL ? {} : { seed: 11 }) },
    );
    const { rows } = await hub.hub.database.pool.query<{ status: string; n: number }>(
      'select status, count(*)::int4 as n from hub.dead_letter group by status order by status',
    );
    // The histories had all of it.
    expect(rows.map(({ status }) => status)).toEqual(expect.arrayContaining(['DISCARDED', 'PARKED', 'REPLAYED']));
  },
  LONG_MS,
);
