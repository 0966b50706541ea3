/**
 * A deterministic hospital: invented people, admitted, moved, measured, corrected, registered twice and merged, told of late
 * and twice. The same options give the same bytes, on every machine.
 */
import { addMicroseconds, compareInstants } from '../time/clock.js';
import type { Instant } from '../time/valid-time.js';
import { Journey } from './journey.js';
import type { SimulatedMessage } from './message.js';
import { inventPerson } from './people.js';
import { Random } from './random.js';

export type { Quirk, SimulatedKind, SimulatedMessage, SimulatedResult, Truth } from './message.js';
export type { Person } from './people.js';

export interface SimulateOptions {
  /** People; each has at least one message where there are as many. */
  readonly patients: number;
  /** Messages, exactly. */
  readonly messages: number;
  /** A whole number. */
  readonly seed: number;
  /** Messages are filled up with notes to about this size. */
  readonly sizeBytes?: number;
  /** Nothing is sent before. */
  readonly start: Instant;
}

/** People come over so much time, evenly; those who have many messages stay longer. */
const ARRIVALS_US = 24 * 3_600_000_000;

interface Active {
  readonly journey: Generator<SimulatedMessage>;
  readonly person: number;
  next: SimulatedMessage;
}

/** All messages of all people, in the order in which they are sent; memory holds only the people who are under way. */
export function* simulate(options: SimulateOptions): Generator<SimulatedMessage> {
  const { patients, messages, seed, start, sizeBytes } = options;
  if (!Number.isSafeInteger(patients) || patients < 1) throw new RangeError('patients is a whole number from 1');
  if (!Number.isSafeInteger(messages) || messages < 0) throw new RangeError('messages is a whole number from 0');
  if (!Number.isSafeInteger(seed)) throw new RangeError('seed is a whole number');
  const year = Number(start.slice(0, 4));
  const each = Math.floor(messages / patients);
  const withOneMore = messages % patients;
  const active = new Heap();
  let person = 0;
  let arrival = start;
  const arrive = (): void => {
    const count = each + (person < withOneMore ? 1 : 0);
    if (count > 0) {
      const journey = new Journey(new Random(seed, 2, person), inventPerson(seed, person, year), arrival, {
        sizeBytes,
      });
      const generator = journey.messages(count);
      active.push({ journey: generator, person, next: generator.next().value as SimulatedMessage });
    }
    person += 1;
    arrival = addMicroseconds(start, Math.floor((ARRIVALS_US / patients) * person));
  };
  for (;;) {
    // Whoever arrives before the next message may have an earlier one.
    while (person < patients && (active.first === undefined || compareInstants(arrival, active.first.next.at) <= 0)) {
      arrive();
    }
    const first = active.first;
    if (first === undefined) return;
    const message = first.next;
    const next = first.journey.next();
    if (next.done === true) active.dropFirst();
    else active.replaceFirst({ ...first, next: next.value });
    yield message;
  }
}

/** A binary heap by time of sending, then by person. */
class Heap {
  private readonly items: Active[] = [];

  get first(): Active | undefined {
    return this.items[0];
  }

  push(item: Active): void {
    let index = this.items.length;
    this.items.push(item);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(item, this.items[parent] as Active)) break;
      this.items[index] = this.items[parent] as Active;
      index = parent;
    }
    this.items[index] = item;
  }

  dropFirst(): void {
    const last = this.items.pop() as Active;
    if (this.items.length > 0) this.replaceFirst(last);
  }

  replaceFirst(item: Active): void {
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.items.length) break;
      if (child + 1 < this.items.length && before(this.items[child + 1] as Active, this.items[child] as Active))
        child += 1;
      if (!before(this.items[child] as Active, item)) break;
      this.items[index] = this.items[child] as Active;
      index = child;
    }
    this.items[index] = item;
  }
}

function before(a: Active, b: Active): boolean {
  const order = compareInstants(a.next.at, b.next.at);
  return order < 0 || (order === 0 && a.person < b.person);
}
