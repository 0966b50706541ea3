/** Where a peer expects what the guide, or a rule of this hub's, does not say: the list with the section that decides, as data. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fact } from './flatten.js';
import type { Case } from './peers.js';

interface Exception {
  readonly peer: string;
  /** Regular expressions over the whole text; absent: any. */
  readonly message?: string;
  readonly type?: string;
  readonly path?: string;
  readonly value?: string;
  readonly section: string;
  readonly reason: string;
}

const file = path.resolve(import.meta.dirname, '../../../bench/scorer/exceptions.json');
const exceptions = (JSON.parse(readFileSync(file, 'utf8')) as Exception[]).map((one) => ({
  ...one,
  test: {
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
export function exceptionFor(one: Case, type: string, fact: Fact): Exception | undefined {
  return exceptions.find(
    ({ peer, test }) =>
      peer === one.peer &&
      test.message.test(one.type) &&
      test.type.test(type) &&
      test.path.test(fact.path) &&
      test.value.test(fact.value),
  );
}
