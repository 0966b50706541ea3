import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { foldThing, type FactBody } from '../../projections/master/fold.js';
import { mergeFacts } from '../../projections/master/index.js';
import { statementOf, sweep, type Statement } from '../../projections/master/sweep.js';
import type { Fact, Json } from '../../src/mapping/fact.js';

const FIELDS = ['a', 'b', 'c'];
const INSTANTS = ['10', '11', '12'].map((hour) => `2026-11-20T${hour}:00:00.000000Z`);

type Said = Pick<Fact, 'assert' | 'end' | 'whole' | 'retract' | 'moves'>;

const some = fc.uniqueArray(fc.constantFrom(...FIELDS), { maxLength: 2 });
const said: fc.Arbitrary<Said> = fc.record(
  {
    assert: fc.dictionary(fc.constantFrom(...FIELDS), fc.integer({ min: 0, max: 9 }), {
      maxKeys: 2,
      noNullPrototype: true,
    }),
    end: some,
    whole: fc.boolean(),
    retract: fc.oneof(fc.constant('*' as const), some),
    moves: fc.constantFrom('all' as const, 'only' as const),
  },
  { requiredKeys: [] },
);
/** One event's facts about one thing, each at a valid time. */
const event = fc.array(fc.tuple(fc.constantFrom(...INSTANTS), said), { minLength: 1, maxLength: 4 });

function factOf(instant: string, one: Said): Fact {
  const valid = { instant, text: instant, field: 'EVN-6', flags: [] };
  return { kind: 'PATIENT', sourceRecordId: 'r', key: '', valid, ...one };
}

function bodyOf({ asserts, ends, whole, retracts, moves }: Omit<Statement, 'validFrom' | 'pos'>): FactBody {
  return {
    ...(Object.keys(asserts).length === 0 ? {} : { a: asserts }),
    ...(ends.length === 0 ? {} : { e: ends }),
    ...(whole ? { w: true as const } : {}),
    ...(retracts.length === 0 ? {} : { r: retracts }),
    ...(moves === undefined ? {} : { m: moves }),
  };
}

test('facts of one event give the same row, read forwards or backwards', () => {
  fc.assert(
    fc.property(fc.array(said, { minLength: 1, maxLength: 5 }), (facts) => {
      const [merged] = mergeFacts(facts.map((one) => factOf(INSTANTS[0] as string, one)));
      expect(bodyOf(statementOf(facts) ?? { asserts: {}, ends: [], whole: false, retracts: [] })).toEqual(merged?.body);
    }),
    { numRuns: 1_000, seed: 7 },
  );
});

test('the sweep of the facts gives the versions that the fold of the rows gives, at every point', () => {
  fc.assert(
    fc.property(fc.array(event, { minLength: 1, maxLength: 6 }), (events) => {
      const rows = events.flatMap((facts, index) =>
        mergeFacts(facts.map(([instant, one]) => factOf(instant, one))).flatMap(({ fact, body }) =>
          // A row that says nothing is not written.
          Object.keys(body).length === 0 ? [] : [{ validFrom: fact.valid.instant, pos: BigInt(index + 1), body }],
        ),
      );
      rows.sort((left, right) =>
        left.validFrom === right.validFrom ? Number(left.pos - right.pos) : left.validFrom < right.validFrom ? -1 : 1,
      );
      const statements = events.flatMap((facts, index) =>
        [...Map.groupBy(facts, ([instant]) => instant)].flatMap(([validFrom, group]) => {
          const one = statementOf(group.map(([, fact]) => fact));
          return one === undefined ? [] : [{ ...one, validFrom, pos: BigInt(index + 1) }];
        }),
      );
      for (let position = 0n; position <= BigInt(events.length); position += 1n) {
        for (const validAt of INSTANTS) {
          const folded = new Map<string, [string, bigint, Json | undefined]>();
          for (const [field, { row, value }] of foldThing(rows, { position, validAt })) {
            folded.set(field, [row.validFrom, row.pos, value]);
          }
          const swept = new Map<string, [string, bigint, Json | undefined]>();
          for (const [field, { validFrom, pos, value }] of sweep(statements, { position, validAt })) {
            swept.set(field, [validFrom, pos, value]);
          }
          expect(swept).toEqual(folded);
        }
      }
    }),
    { numRuns: 400, seed: 20261121 },
  );
});
