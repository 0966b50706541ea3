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

/** A point, and a time that nothing up to its position was recorded after. */
export interface KnownPoint extends Point {
  readonly knownAt: Instant;
}

export interface Deciding<Row> {
  /** What decides one point may come again with another. */
  readonly rows: Row[];
  /** The thing has rows about a time after their recording. */
  readonly ahead: boolean;
}

/**
 * @param columns of the rows
 * @param points at least one. More rows than decide a point make no difference there, as long as they are the thing's own
 * @returns undefined where only all rows together can tell
 */
export async function decidingRows<Row extends object>(
  run: Run,
  fact: string,
  columns: string,
  thing: ThingKey,
  points: readonly KnownPoint[],
): Promise<Deciding<Row> | undefined> {
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
  const position = points.reduce((most, one) => (one.position > most ? one.position : most), 0n);
  const validAt = points.reduce((most, one) => (one.validAt > most ? one.validAt : most), '');
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
  const asked = shapes
    .filter((shape) => (shape & RETRACTS) === 0n)
    .flatMap((shape) => points.map((point) => ({ shape, bound: boundOf(shape, point), position: point.position })));
  const rows = await run<Row>(
    'deciding',
    `select last.* from unnest($4::int8[], $5::timestamptz[], $9::int8[]) as one (shape, bound, pos),
       lateral (select ${columns} from ${fact} f where ${OF_THING} and f.shape = one.shape and valid_from <= one.bound and f.pos <= one.pos
         and f.pos <= $6 and valid_from <> all($7::timestamptz[]) order by valid_from desc, f.pos desc limit 1) last
     union all
     select ${columns} from ${fact} where ${OF_THING} and shape = any($8::int8[]) and valid_from = any($7::timestamptz[]) and pos <= $6`,
    [
      ...key,
      asked.map(({ shape }) => String(shape)),
      asked.map(({ bound }) => bound),
      position,
      times,
      shapes.map(String),
      asked.map((one) => String(one.position)),
    ],
  );
  return { rows, ahead: shapes.some((shape) => (shape & AHEAD) !== 0n) };
}

/** What is not ahead of its recording was valid by then: what came after the position need not be passed over. */
function boundOf(shape: bigint, { knownAt, validAt }: KnownPoint): Instant {
  return (shape & AHEAD) === 0n && knownAt < validAt ? knownAt : validAt;
}
