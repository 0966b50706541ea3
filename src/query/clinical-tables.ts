/** The chart of everybody at one basis as tables, for a site's own warehouse: with identity, so under a permission of its own. */
import type pg from 'pg';
import { foldThing, isPresent, latestRow, valuesOf, type FactBody } from '../../projections/master/fold.js';
import { masterTables } from '../../projections/master/tables.js';
import { CHUNK_ROWS, type Bucket, type LakeTable, type LakeValue } from '../lake/lake-table.js';
import { FACT_KINDS } from '../mapping/fact.js';
import type { Instant } from '../time/valid-time.js';
import type { Basis } from './basis/basis.js';

/** Rows that are fetched at a time. */
const FETCH_ROWS = 2_000;
/** Records of people who were erased. */
const ERASED = 'select unnest(owners) from sealing.erasure';

interface FactRow {
  readonly record: string;
  readonly kind: number;
  readonly entity: bigint;
  readonly key: string;
  readonly valid_from: Instant;
  readonly pos: bigint;
  readonly body: FactBody;
  readonly patient: string;
}

/** One row for each thing that stands at the basis: the patient, a visit, a result, … with its fields as JSON. */
export function clinicalTablesOf(basis: Basis): LakeTable[] {
  return [
    {
      name: 'facts',
      columns: [
        { name: 'patient_id', type: 'string' },
        { name: 'source_record_id', type: 'string' },
        { name: 'kind', type: 'string' },
        { name: 'key', type: 'string' },
        { name: 'valid_from', type: 'string' },
        { name: 'fields', type: 'string' },
      ],
      chunks: (client, bucket) => chunksOf(client, bucket, basis),
    },
  ];
}

async function* chunksOf(
  client: pg.ClientBase,
  bucket: Bucket,
  { build, position, validAt }: Basis,
): AsyncGenerator<LakeValue[][]> {
  const { fact, link } = masterTables(build);
  await client.query(
    `declare part no scroll cursor for
       select f.record, f.kind, f.entity, f.key, f.valid_from, f.pos, f.body, l.patient
         from ${fact} f join (
           select distinct on (record) record, patient from ${link}
            where pos <= ${position} and ${bucket.holds('record')} order by record, pos desc
         ) l on l.record = f.record
        where f.pos <= ${position} and f.valid_from <= timestamptz '${validAt}' and ${bucket.holds('f.record')} and f.record not in (${ERASED})
        order by f.record, f.kind, f.entity, f.valid_from, f.pos`,
  );
  let columns: LakeValue[][] = [[], [], [], [], [], []];
  const finish = (thing: readonly FactRow[]): void => {
    const folded = foldThing(
      thing.map(({ valid_from, pos, body }) => ({ validFrom: valid_from, pos, body })),
      { position, validAt },
    );
    const [first] = thing;
    if (first === undefined || !isPresent(folded)) return;
    const row = [
      first.patient,
      first.record,
      FACT_KINDS[first.kind],
      first.key,
      latestRow(folded)?.validFrom,
      JSON.stringify(valuesOf(folded)),
    ];
    row.forEach((value, place) => columns[place]?.push(value));
  };
  let thing: FactRow[] = [];
  for (;;) {
    const { rows } = await client.query<FactRow>(`fetch ${FETCH_ROWS} from part`);
    if (rows.length === 0) break;
    for (const row of rows) {
      const [first] = thing;
      if (
        first !== undefined &&
        (first.record !== row.record || first.kind !== row.kind || first.entity !== row.entity)
      ) {
        finish(thing);
        thing = [];
      }
      thing.push(row);
    }
    if ((columns[0]?.length ?? 0) < CHUNK_ROWS / 4) continue;
    yield columns;
    columns = [[], [], [], [], [], []];
  }
  finish(thing);
  if ((columns[0]?.length ?? 0) > 0) yield columns;
  await client.query('close part');
}
