import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  compareRows,
  foldThing,
  isPresent,
  latestRow,
  mergeFolded,
  valuesOf,
  type FactBody,
  type FoldRow,
} from '../../projections/master/fold.js';
import { asOf, rowsOf, type OracleStatement } from '../oracle/fold-oracle.js';

const SLOTS = ['a', 'b', 'c', 'd'];
const LATEST = 1_000_000n;

function at(time: string): string {
  return `2026-11-20T${time}.000000Z`;
}

function row(pos: number, time: string, body: FactBody): FoldRow {
  return { pos: BigInt(pos), validFrom: at(time), body };
}

function fold(rows: readonly FoldRow[], known: number | bigint, time: string): Record<string, unknown> {
  return valuesOf(foldThing([...rows].sort(compareRows), { position: BigInt(known), validAt: at(time) }));
}

function toRow({ validFrom, pos, assert, end, whole, retract }: OracleStatement): FoldRow {
  return {
    validFrom,
    pos,
    body: {
      ...(assert === undefined ? {} : { a: assert as NonNullable<FactBody['a']> }),
      ...(end === undefined ? {} : { e: end }),
      ...(whole === true ? { w: true as const } : {}),
      ...(retract === undefined ? {} : { r: retract }),
    },
  };
}

const INSTANTS = ['10:00:00', '11:00:00', '12:00:00', '13:00:00'].map(at);

const statement = (pos: bigint): fc.Arbitrary<OracleStatement> =>
  fc
    .record(
      {
        validFrom: fc.constantFrom(...INSTANTS),
        assert: fc.dictionary(fc.constantFrom(...SLOTS), fc.integer({ min: 0, max: 9 }), { maxKeys: 3 }),
        end: fc.uniqueArray(fc.constantFrom(...SLOTS), { maxLength: 2 }),
        whole: fc.boolean().map((yes) => yes),
        retract: fc.oneof(fc.constant('*' as const), fc.uniqueArray(fc.constantFrom(...SLOTS), { maxLength: 2 })),
      },
      { requiredKeys: ['validFrom'] },
    )
    .map((made) => ({
      ...made,
      pos,
      ...(made.end === undefined ? {} : { end: made.end.filter((slot) => !Object.hasOwn(made.assert ?? {}, slot)) }),
    }));

const statements = fc
  .integer({ min: 1, max: 9 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => statement(BigInt(index + 1)))));

describe('the fold', () => {
  it('agrees with the oracle for every slot at every boundary of both axes', () => {
    fc.assert(
      fc.property(statements, (made) => {
        const rows = made.map(toRow).sort(compareRows);
        const oracle = rowsOf(made, SLOTS);
        for (let known = 0n; known <= BigInt(made.length); known += 1n) {
          for (const instant of INSTANTS) {
            for (const validAt of [instant.replace('.000000', '.000001'), instant, before(instant)]) {
              const folded = valuesOf(foldThing(rows, { position: known, validAt }));
              for (const slot of SLOTS) expect(folded[slot]).toEqual(asOf(oracle, slot, known, validAt)?.value);
            }
          }
        }
      }),
      { numRuns: 400, seed: 20261121 },
    );
  });

  it('gives one state for statements at different times in any order of arrival', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(INSTANTS, { minLength: 2, maxLength: 4 }), (order) => {
        const rows = order.map((validFrom, index) => ({
          validFrom,
          pos: BigInt(index + 1),
          body: { a: { a: validFrom, [SLOTS[INSTANTS.indexOf(validFrom)] as string]: 1 } },
        }));
        const last = [...order].sort().at(-1);
        const state = valuesOf(foldThing(rows.sort(compareRows), { position: LATEST, validAt: at('23:00:00') }));
        expect(state['a']).toBe(last);
        expect(Object.keys(state).filter((field) => field !== 'a')).toEqual(
          order
            .map((validFrom) => SLOTS[INSTANTS.indexOf(validFrom)])
            .filter((slot) => slot !== 'a')
            .sort(),
        );
      }),
    );
  });

  it('time 1: lets a late message land between its neighbours and mask nothing newer', () => {
    const rows = [
      row(1, '10:00:00', { a: { ward: 'A' } }),
      row(2, '12:00:00', { a: { ward: 'C' } }),
      row(3, '11:00:00', { a: { ward: 'B' } }),
    ];
    expect(fold(rows, 2, '11:30:00')).toEqual({ ward: 'A' });
    expect(fold(rows, 3, '11:30:00')).toEqual({ ward: 'B' });
    expect(fold(rows, 2, '13:00:00')).toEqual({ ward: 'C' });
    expect(fold(rows, 3, '13:00:00')).toEqual({ ward: 'C' });
  });

  it('time 3: keeps each value of a correction of a correction at its own K', () => {
    const rows = ['F', 'C1', 'C2'].map((value, index) => row(index + 1, '09:00:00', { a: { resource: value } }));
    expect([1, 2, 3].map((known) => fold(rows, known, '09:00:00')['resource'])).toEqual(['F', 'C1', 'C2']);
  });

  it('time 4: leaves no ghost where a valid time was corrected', () => {
    const rows = [
      row(1, '09:00:00', { a: { resource: 7 } }),
      row(2, '09:00:00', { r: '*' }),
      row(2, '08:00:00', { a: { resource: 7 } }),
    ];
    expect(fold(rows, 1, '08:30:00')).toEqual({});
    expect(fold(rows, 2, '08:30:00')).toEqual({ resource: 7 });
    const standing = foldThing([...rows].sort(compareRows), { position: 2n, validAt: at('23:00:00') });
    expect(standing.get('resource')?.row.validFrom).toBe(at('08:00:00'));
    expect(fold(rows, 1, '09:00:00')).toEqual({ resource: 7 });
  });

  it('time 5: a cancel that overtook its event is not undone by it, and the next statement there stands', () => {
    const rows = [
      row(1, '10:00:00', { a: { status: 'in-progress' } }),
      row(2, '12:00:00', { r: '*' }),
      row(3, '12:00:00', { a: { status: 'finished' } }),
      row(4, '12:00:00', { a: { status: 'finished again' } }),
    ];
    expect(fold(rows, 3, '13:00:00')).toEqual({ status: 'in-progress' });
    expect(fold(rows, 4, '13:00:00')).toEqual({ status: 'finished again' });
  });

  it('time 5: a thing whose only row is cancelled is absent, not empty', () => {
    const rows = [row(1, '10:00:00', { a: { status: 'in-progress' } }), row(2, '10:00:00', { r: '*' })];
    const folded = foldThing(rows, { position: 2n, validAt: at('11:00:00') });
    expect(isPresent(folded)).toBe(false);
    expect(folded.size).toBe(0);
  });

  it('time 5: a cancel hides only what was there before it', () => {
    const rows = [
      row(1, '10:00:00', { a: { status: 'first' } }),
      row(2, '10:00:00', { r: '*' }),
      row(3, '10:00:00', { a: { status: 'again' } }),
    ];
    expect(fold(rows, 3, '11:00:00')).toEqual({ status: 'again' });
  });

  it('time 7: an older snapshot does not overwrite newer fields', () => {
    const rows = [row(1, '12:00:00', { a: { name: 'new' } }), row(2, '11:00:00', { a: { name: 'old', phone: '1' } })];
    expect(fold(rows, 2, '13:00:00')).toEqual({ name: 'new', phone: '1' });
  });

  it('time 8: an end is a version, silence is none', () => {
    const rows = [
      row(1, '10:00:00', { a: { phone: '1', name: 'x' } }),
      row(2, '11:00:00', { e: ['phone'] }),
      row(3, '12:00:00', { a: { name: 'y' } }),
    ];
    expect(fold(rows, 3, '10:30:00')).toEqual({ name: 'x', phone: '1' });
    expect(fold(rows, 3, '13:00:00')).toEqual({ name: 'y' });
    const folded = foldThing(rows, { position: 3n, validAt: at('13:00:00') });
    expect(folded.get('phone')).toEqual({ row: rows[1], value: undefined });
  });

  it('a whole statement ends what it does not assert, also of fields said earlier at the same time', () => {
    const rows = [
      row(1, '10:00:00', { a: { a: 1, b: 1 } }),
      row(2, '10:00:00', { a: { b: 2 }, w: true }),
      row(3, '11:00:00', { a: { c: 3 } }),
    ];
    expect(fold(rows, 3, '11:00:00')).toEqual({ b: 2, c: 3 });
    expect(fold([...rows, row(4, '10:00:00', { r: '*' })], 4, '11:00:00')).toEqual({ c: 3 });
  });

  it('time 9: what is dated ahead is invisible until its time', () => {
    const rows = [row(1, '20:00:00', { a: { status: 'planned' } })];
    expect(fold(rows, 1, '19:59:59')).toEqual({});
    expect(fold(rows, 1, '20:00:00')).toEqual({ status: 'planned' });
  });

  it('time 10: of two rows at one instant the later position wins', () => {
    const rows = [row(2, '10:00:00', { a: { a: 'second' } }), row(1, '10:00:00', { a: { a: 'first' } })];
    expect(fold(rows, 2, '10:00:00')).toEqual({ a: 'second' });
    expect(fold(rows, 1, '10:00:00')).toEqual({ a: 'first' });
  });

  it('a retraction with a statement of its own replaces and waits for nothing', () => {
    const rows = [row(1, '10:00:00', { r: '*', a: { a: 1 } }), row(2, '10:00:00', { a: { a: 2 } })];
    expect(fold(rows, 1, '10:00:00')).toEqual({ a: 1 });
    expect(fold(rows, 2, '10:00:00')).toEqual({ a: 2 });
  });

  it('shows of a field the version with the greatest valid time and position over all records', () => {
    const one = foldThing([row(5, '10:00:00', { a: { name: 'x', phone: '1' } })], {
      position: 9n,
      validAt: at('13:00:00'),
    });
    const two = foldThing([row(2, '11:00:00', { a: { name: 'y' } })], { position: 9n, validAt: at('13:00:00') });
    const merged = mergeFolded([one, two]);
    expect(valuesOf(merged)).toEqual({ name: 'y', phone: '1' });
    expect(latestRow(merged)?.pos).toBe(5n);
    expect(valuesOf(mergeFolded([two, one]))).toEqual(valuesOf(merged));
  });

  it('lets an end of one record hide what another says only where something stood on the first', () => {
    const at13 = { position: 9n, validAt: at('13:00:00') };
    const says = foldThing([row(1, '10:00:00', { a: { phone: '1' } })], at13);
    const neverHad = foldThing([row(2, '11:00:00', { a: { name: 'x' }, e: ['phone'] })], at13);
    const hadOne = foldThing([row(2, '09:00:00', { a: { phone: '2' } }), row(3, '11:00:00', { e: ['phone'] })], at13);
    expect(valuesOf(mergeFolded([says, neverHad]))).toEqual({ name: 'x', phone: '1' });
    expect(valuesOf(mergeFolded([says, hadOne]))).toEqual({});
  });

  it('keeps fields named like members of every object apart', () => {
    const body = JSON.parse('{"a":{"__proto__":1,"constructor":2}}') as FactBody;
    expect(Object.entries(fold([row(1, '10:00:00', body)], 1, '10:00:00'))).toEqual([
      ['__proto__', 1],
      ['constructor', 2],
    ]);
  });
});

/** A microsecond earlier. */
function before(instant: string): string {
  const hour = Number(instant.slice(11, 13)) - 1;
  return `${instant.slice(0, 11)}${String(hour).padStart(2, '0')}:59:59.999999Z`;
}
