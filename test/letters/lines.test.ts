/** Random histories of letters, without a database: what the runtime does event by event, held against a slow and obvious account of it. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EVENT_TYPES, type Envelope } from '../../src/log/envelope.js';
import { turnsOf } from '../../src/inbound/letters/releaser.js';
import { hold, parkingOf } from '../../src/projecting/holding.js';
import { Parkings } from '../../src/projecting/parkings.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { Queues } from '../../src/projecting/queues.js';
import type { Fact } from '../../src/mapping/fact.js';

const PROJECTIONS = ['one', 'two'] as const;
type Name = (typeof PROJECTIONS)[number];

/** What a message says: whom it is about, and who cannot take it. */
interface Content {
  readonly records: readonly string[];
  readonly refusedBy: readonly Name[];
}

interface Message {
  readonly id: string;
  readonly position: bigint;
  content: Content;
  attempt: number;
  state: 'flows' | 'parked' | 'replayed' | 'discarded';
  corrected: boolean;
}

/** One projection as it runs: the lines it holds, and what it has applied. */
class Run {
  queues = new Queues();
  readonly applied: { readonly record: string; readonly message: string; readonly at: bigint }[] = [];

  constructor(
    readonly name: Name,
    readonly parkings: Parkings,
    private readonly mode: 'live' | 'rebuild',
  ) {}

  take(event: DecodedEvent, contentOf: (event: DecodedEvent) => Content): string | undefined {
    for (;;) {
      const queues = this.queues.fork();
      const [seen] = hold([event], { projection: this.name, parkings: this.parkings, queues }).events;
      const facts = seen?.mapped.facts ?? [];
      if (facts.length > 0 && contentOf(event).refusedBy.includes(this.name)) {
        if (this.mode === 'rebuild') throw new Error('new poison in a rebuild');
        const parking = parkingOf(event, this.name, { code: 'REFUSED' });
        this.parkings.add(parking);
        return this.take(event, contentOf) ?? parking.messageId;
      }
      this.queues = queues;
      for (const fact of facts) {
        this.applied.push({
          record: fact.sourceRecordId,
          message: event.replayOf?.messageId ?? event.id,
          at: event.position,
        });
      }
      return undefined;
    }
  }

  line(record: string) {
    // The records of a history are few: everything is asked for.
    return [...this.places()].filter((place) => place.sourceRecordId === record);
  }

  *places() {
    for (const change of this.queues.changes().lines.values()) if ('held' in change) yield change.held;
  }
}

function factOf(sourceRecordId: string): Fact {
  return {
    kind: 'PATIENT',
    sourceRecordId,
    key: '',
    valid: { instant: '', text: '', field: '', flags: [] },
    assert: { n: 1 },
  };
}

/** A hub with its log, its two projections and those who decide about letters. */
class History {
  readonly log: DecodedEvent[] = [];
  readonly contents = new Map<string, Content>();
  readonly messages: Message[] = [];
  readonly parkings = new Parkings();
  readonly live = PROJECTIONS.map((name) => new Run(name, this.parkings, 'live'));

  arrive(content: Content): void {
    const id = `m${this.messages.length}`;
    const message: Message = {
      id,
      position: BigInt(this.log.length + 1),
      content,
      attempt: 1,
      state: 'flows',
      corrected: false,
    };
    this.messages.push(message);
    this.append({ id, type: EVENT_TYPES.clinicalEvent, content });
  }

  correct(message: Message, content: Content): void {
    message.content = content;
    message.corrected = true;
  }

  replay(message: Message): void {
    if (message.state !== 'parked') return;
    message.attempt += 1;
    message.state = 'replayed';
    const fresh = message.corrected;
    message.corrected = false;
    this.append({
      id: `${message.id}/${message.attempt}`,
      type: EVENT_TYPES.replayed,
      content: message.content,
      replayOf: {
        messageId: message.id,
        position: message.position,
        attempt: message.attempt,
        ...(fresh ? { fresh } : {}),
      },
    });
  }

  discard(message: Message): void {
    if (message.state !== 'parked') return;
    message.state = 'discarded';
    const letter = {
      messageId: message.id,
      position: String(message.position),
      attempt: message.attempt,
      requestedBy: '',
    };
    this.append({
      id: `${message.id}/x`,
      type: EVENT_TYPES.discarded,
      content: { records: [], refusedBy: [] },
      letter,
    });
  }

  /** As the releaser does, a few at a time. @returns whether anything moved */
  release(most: number): boolean {
    const rows = this.live.flatMap((run) =>
      [...new Set([...run.places()].map((place) => place.sourceRecordId))].flatMap((record) =>
        run.line(record).map((place) => ({
          ...place,
          projection: run.name,
          place: place.position,
          correctionId: null,
          correctedAt: null,
        })),
      ),
    );
    rows.sort((a, b) =>
      a.sourceRecordId === b.sourceRecordId ? Number(a.place - b.place) : a.sourceRecordId < b.sourceRecordId ? -1 : 1,
    );
    const turns = turnsOf(rows).slice(0, most);
    for (const turn of turns) {
      const message = this.messages.find(({ id }) => id === turn.messageId) as Message;
      message.attempt += 1;
      this.append({
        id: `${message.id}/${message.attempt}`,
        type: EVENT_TYPES.replayed,
        content: message.content,
        replayOf: {
          messageId: message.id,
          position: message.position,
          attempt: message.attempt,
          only: [turn.sourceRecordId],
        },
      });
    }
    return turns.length > 0;
  }

  private append(wanted: {
    id: string;
    type: string;
    content: Content;
    replayOf?: DecodedEvent['replayOf'];
    letter?: Envelope['letter'];
  }): void {
    const { id, type, content, replayOf, letter } = wanted;
    const [sourceRecordId, ...records] = content.records;
    const event = {
      id,
      type,
      position: BigInt(this.log.length + 1),
      envelope: {
        validation: { state: 'valid' },
        sourceRecordId,
        records,
        ...(letter === undefined ? {} : { letter }),
      },
      body: { state: 'decision', json: undefined },
      mapped: { facts: content.records.map(factOf), notes: [], unmapped: [] },
      ...(replayOf === undefined ? {} : { replayOf }),
    } as unknown as DecodedEvent;
    this.contents.set(id, content);
    this.log.push(event);
    for (const run of this.live) {
      const failed = run.take(event, (one) => this.contents.get(one.id) as Content);
      const message = this.messages.find((one) => one.id === failed);
      if (message !== undefined) message.state = 'parked';
    }
  }
}

const RECORDS = ['r1', 'r2', 'r3'];
const content = fc.record({
  records: fc.subarray(RECORDS, { minLength: 1, maxLength: 2 }),
  refusedBy: fc.oneof(
    { weight: 4, arbitrary: fc.constant<readonly Name[]>([]) },
    { weight: 1, arbitrary: fc.subarray([...PROJECTIONS], { minLength: 1 }) },
  ),
});
const step = fc.oneof(
  { weight: 5, arbitrary: content.map((value) => ({ kind: 'arrive' as const, value })) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('correct' as const), which: fc.nat(), value: content }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('replay' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('discard' as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), most: fc.integer({ min: 1, max: 3 }) }) },
);

test('any history is applied once and in order, a rebuild gives the same, and once all letters are settled nothing waits', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const history = new History();
      const parked = (): Message[] => history.messages.filter((message) => message.state === 'parked');
      const letter = (which: number): Message | undefined => parked()[which % Math.max(parked().length, 1)];
      for (const one of steps) {
        if (one.kind === 'arrive') history.arrive(one.value);
        else if (one.kind === 'release') history.release(one.most);
        else {
          const message = letter(one.which);
          if (message === undefined) continue;
          if (one.kind === 'correct') history.correct(message, one.value);
          else if (one.kind === 'replay') history.replay(message);
          else history.discard(message);
        }
      }
      rebuildsEqual(history);
      // Everything is healed: nothing is left in any line, and nobody was passed over.
      for (let rounds = 0; parked().length > 0 || history.release(5); rounds += 1) {
        expect(rounds).toBeLessThan(500);
        const message = letter(0);
        if (message === undefined) continue;
        history.correct(message, { ...message.content, refusedBy: [] });
        history.replay(message);
      }
      rebuildsEqual(history);
      for (const run of history.live) {
        expect([...run.places()]).toEqual([]);
        for (const message of history.messages) {
          if (message.state === 'discarded') continue;
          for (const record of message.content.records) {
            expect(run.applied.filter((one) => one.message === message.id && one.record === record)).not.toEqual([]);
          }
        }
        if (history.messages.every((message) => message.state === 'flows')) {
          for (const record of RECORDS) {
            const order = run.applied.filter((one) => one.record === record).map((one) => Number(one.message.slice(1)));
            expect(order).toEqual(order.toSorted((a, b) => a - b));
          }
        }
      }
    }),
    { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 20_000 : 600, seed: 11 },
  );
});

/** With all failures known before it starts, event by event. */
function rebuildsEqual(history: History): void {
  for (const run of history.live) {
    const rebuilt = new Run(run.name, history.parkings, 'rebuild');
    for (const event of history.log) rebuilt.take(event, (one) => history.contents.get(one.id) as Content);
    expect(rebuilt.applied).toEqual(run.applied);
    expect([...rebuilt.places()]).toEqual([...run.places()]);
  }
}

test('without corrections every message of a record is applied once and in the order of arrival', () => {
  fc.assert(
    fc.property(
      fc.array(content, { minLength: 1, maxLength: 25 }),
      fc.integer({ min: 1, max: 4 }),
      (arriving, most) => {
        const history = new History();
        for (const value of arriving) history.arrive(value);
        for (let rounds = 0; ; rounds += 1) {
          expect(rounds).toBeLessThan(500);
          const message = history.messages.find((one) => one.state === 'parked');
          if (message === undefined) {
            if (!history.release(most)) break;
            continue;
          }
          // The cause was mended elsewhere: the same content is taken now.
          message.content = { ...message.content, refusedBy: [] };
          history.replay(message);
        }
        for (const run of history.live) {
          for (const record of RECORDS) {
            const order = run.applied.filter((one) => one.record === record).map((one) => one.message);
            expect(order).toEqual(
              history.messages.filter((one) => one.content.records.includes(record)).map((one) => one.id),
            );
          }
        }
        rebuildsEqual(history);
      },
    ),
    { numRuns: process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 20_000 : 600, seed: 12 },
  );
});
