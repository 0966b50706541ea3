/** Where a peer expects what the guide, or a rule of this hub's, does not say: the list with the section that decides, as data. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import type { Comparison } from './compare.js';
import type { Fact } from './flatten.js';
import type { Case } from './peers.js';

interface Exception {
  /** Regular expressions over the whole text; absent: any. */
  readonly peer?: string;
  readonly message?: string;
  readonly type?: string;
  readonly path?: string;
  readonly value?: string;
  /** Only where the message values none of these segments (`ORC`) and fields (`PV1-44`). */
  readonly without?: readonly string[];
  /** Only where the message values one of these. */
  readonly with?: readonly string[];
  /** Only for a resource that the hub does not make at all: none, or one that says the same of status and systems alone. */
  readonly whole?: true;
  readonly section: string;
  readonly reason: string;
}

const file = path.resolve(import.meta.dirname, '../../../bench/scorer/exceptions.json');
const exceptions = (JSON.parse(readFileSync(file, 'utf8')) as Exception[]).map((one) => ({
  ...one,
  test: {
    peer: whole(one.peer),
    message: whole(one.message),
    type: whole(one.type),
    path: whole(one.path),
    value: whole(one.value),
  },
}));

function whole(pattern: string | undefined): RegExp {
  return new RegExp(`^(?:${pattern ?? '.*'})$`, 's');
}

/** The exception that a missed fact falls under. */
export function exceptionFor(one: Case, { type, matched }: Comparison, fact: Fact): Exception | undefined {
  const unmade = matched.every(({ path }) => path === 'status' || path === 'subject' || path.endsWith('.system'));
  return exceptions.find(
    ({ test, without, with: some, whole: wholeOnly }) =>
      test.peer.test(one.peer) &&
      test.message.test(one.type) &&
      test.type.test(type) &&
      test.path.test(fact.path) &&
      test.value.test(fact.value) &&
      (wholeOnly !== true || unmade) &&
      (some === undefined || some.some((place) => values(one.message, place))) &&
      (without === undefined || !without.some((place) => values(one.message, place))),
  );
}

function values(message: Buffer, place: string): boolean {
  const [name, field] = place.split('-');
  return readHl7(message).segments.some(
    (segment) => segment.name === name && (field === undefined || segment.rawField(Number(field)) !== ''),
  );
}
