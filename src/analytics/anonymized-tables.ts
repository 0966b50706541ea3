/** The anonymized model at one basis as tables: what the rows of the graph show, no more. */
import { COLORS, ETHNICITIES, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { snapshotTables } from '../../projections/anonymized/tables.js';
import { OLDEST_CODE, partOf, SHOWN } from './packing.js';
import { DATED, type DatedKind } from './snapshots.js';
import { daysOf, sqlTable, type LakeTable, type SqlColumn } from '../lake/lake-table.js';

function named(list: readonly string[], code: string): string {
  return `(array[${list.map((value) => `'${value.replaceAll("'", "''")}'`).join(', ')}])[nullif(${code}, 0)]`;
}

export function anonymizedTablesOf(snapshot: number): LakeTable[] {
  const { rows, dated } = snapshotTables(snapshot);
  const age = partOf('shown', SHOWN.age);
  const zip3 = partOf('shown', SHOWN.zip3);
  const subject: SqlColumn = { name: 'subject_id', type: 'string', sql: 'subject' };
  const datedTable = (name: string, kind: DatedKind, columns: readonly SqlColumn[]): LakeTable =>
    sqlTable({
      name,
      columns: [subject, ...columns],
      from: (bucket) => `from ${dated} where kind = ${DATED[kind]} and ${bucket.holds('subject')}`,
      order: 'place',
    });
  const date: SqlColumn = { name: 'date', type: 'date', sql: daysOf('at') };
  const system: SqlColumn = { name: 'system', type: 'string', sql: 'system' };
  const code: SqlColumn = { name: 'code', type: 'string', sql: 'code' };
  return [
    sqlTable({
      name: 'subjects',
      columns: [
        { ...subject, unique: true },
        {
          name: 'age_years',
          type: 'integer',
          sql: `case when ${age} between 1 and ${OLDEST_CODE - 1} then ${age} - 1 end`,
        },
        { name: 'age_90_plus', type: 'boolean', sql: `${age} = ${OLDEST_CODE}` },
        { name: 'sex', type: 'string', sql: named(SEXES, partOf('shown', SHOWN.sex)) },
        { name: 'zip3', type: 'string', sql: `case when ${zip3} <> 0 then lpad((${zip3} - 1)::text, 3, '0') end` },
        { name: 'race', type: 'string', sql: named(RACES, partOf('shown', SHOWN.race)) },
        { name: 'ethnicity', type: 'string', sql: named(ETHNICITIES, partOf('shown', SHOWN.ethnicity)) },
        { name: 'favorite_color', type: 'string', sql: named(COLORS, 'color') },
      ],
      from: (bucket) => `from ${rows} where ${bucket.holds('subject')}`,
      order: 'subject',
    }),
    datedTable('encounters', 'encounter', [
      { name: 'start_date', type: 'date', sql: daysOf('at') },
      { name: 'class', type: 'string', sql: 'system' },
      { name: 'department_type', type: 'string', sql: 'code' },
      { name: 'length_of_stay_days', type: 'integer', sql: 'days' },
    ]),
    datedTable('observations', 'observation', [
      date,
      system,
      code,
      { name: 'value', type: 'double', sql: 'value' },
      { name: 'unit', type: 'string', sql: 'unit' },
      { name: 'value_system', type: 'string', sql: 'value_system' },
      { name: 'value_code', type: 'string', sql: 'value_code' },
      { name: 'abnormal', type: 'boolean', sql: 'abnormal' },
    ]),
    datedTable('conditions', 'condition', [date, system, code, { name: 'chapter', type: 'string', sql: 'grouped' }]),
    datedTable('immunizations', 'immunization', [date, system, code]),
  ];
}
