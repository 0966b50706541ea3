/**
 * Of a thing with very many rows, those that decide what stands of it at a point (docs/architecture.md §8). Where nothing moves or is retracted a
 * field is decided by the greatest (valid_from, pos) that speaks of it, which is the last row of its shape; and whether what a row ends had ever
 * stood, by whether any row asserts it, for which the last one of that shape stands too. What is retracted is retracted at its own valid time: the
 * rows of such times come along whole, and the last row of a shape is looked for at the others.
 */
import { AHEAD, MOVES, RETRACTS, UNKNOWN_SHAPE } from '../../../projections/master/shape.js';
import type { Point } from '../../../projections/master/fold.js';
import type { Instant } from '../../time/valid-time.js';

/** More shapes, or more times at which something was retracted, than make it worth while. */
const SHAPES_MOST = 200;
const RETRACTED_MOST = 500;

interface ThingKey {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
}

/** Runs a statement on the facts of the build. */
type Run = <Row extends object>(name: string, text: string, values: readonly unknown[]) => Promise<Row[]>;

/**
 * @param columns of the rows
 * @param knownAt nothing up to the point's position was recorded later
 * @returns undefined where only all rows together can tell
 */
export async function decidingRows<Row extends object>(
  run: Run,
  fact: string,
  columns: string,
  thing: ThingKey,
  at: Point,
  knownAt: Instant,
): Promise<Row[] | undefined> {
  const key = [thing.record, thing.kind, thing.entity];
  const OF_THING = 'record = $1 and kind = $2 and entity = $3';
  const shapes = (
    await run<{ shape: bigint | null }>(
      'shapes',
      `with recursive found (shape) as (
         (select shape from ${fact} where ${OF_THING} order by shape limit 1)
         union all
         select (select n.shape from ${fact} n where n.record = $1 and n.kind = $2 and n.entity = $3 and n.shape > found.shape order by n.shape limit 1)
         from found where found.shape is not null)
       select shape from found limit ${SHAPES_MOST + 2}`,
      key,
    )
  ).flatMap(({ shape }) => shape ?? []);
  if (shapes.length > SHAPES_MOST || shapes.some((shape) => shape === UNKNOWN_SHAPE || (shape & MOVES) !== 0n))
    return undefined;
  // What is not ahead of its recording was valid by then: what came after the position need not be passed over.
  const { validAt, position } = at;
  const before = knownAt < validAt ? knownAt : validAt;
  const boundOf = (shape: bigint): Instant => ((shape & AHEAD) === 0n ? before : validAt);
  const retracting = shapes.filter((shape) => (shape & RETRACTS) !== 0n);
  const retracted =
    retracting.length === 0
      ? []
      : await run<{ validFrom: Instant }>(
          'retracted',
          `select distinct valid_from as "validFrom" from ${fact}
           where ${OF_THING} and shape = any($4::int8[]) and valid_from <= $5 and pos <= $6 limit ${RETRACTED_MOST + 1}`,
          [...key, retracting.map(String), validAt, position],
        );
  if (retracted.length > RETRACTED_MOST) return undefined;
  const times = retracted.map(({ validFrom }) => validFrom);
  const others = shapes.filter((shape) => (shape & RETRACTS) === 0n);
  return run<Row>(
    'deciding',
    `select last.* from unnest($4::int8[], $5::timestamptz[]) as one (shape, bound),
       lateral (select ${columns} from ${fact} f where ${OF_THING} and f.shape = one.shape and valid_from <= one.bound and pos <= $6
         and valid_from <> all($7::timestamptz[]) order by valid_from desc, pos desc limit 1) last
     union all
     select ${columns} from ${fact} where ${OF_THING} and shape = any($8::int8[]) and valid_from = any($7::timestamptz[]) and pos <= $6`,
    [...key, others.map(String), others.map(boundOf), position, times, shapes.map(String)],
  );
}
