/** The anonymized model at one basis as tables: what the rows of the graph show, no more. */
import { COLORS, ETHNICITIES, RACES, SEXES } from '../../projections/anonymized/declaration.js';
import { snapshotTables } from '../../projections/anonymized/tables.js';
import { OLDEST_CODE, partOf, SHOWN, zip3Of } from './packing.js';
import { DATED, type DatedKind } from './snapshots.js';
import { daysOf, sqlTable, type LakeTable, type SqlColumn } from '../lake/lake-table.js';

const ZIP3S: readonly string[] = Array.from({ length: 1_000 }, (_, place) => zip3Of(place + 1) ?? '');

export function anonymizedTablesOf(snapshot: number): LakeTable[] {
  const { rows, dated } = snapshotTables(snapshot);
  const age = partOf('shown', SHOWN.age);
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
        { name: 'sex', type: 'string', sql: partOf('shown', SHOWN.sex), among: SEXES },
        { name: 'zip3', type: 'string', sql: partOf('shown', SHOWN.zip3), among: ZIP3S },
        { name: 'race', type: 'string', sql: partOf('shown', SHOWN.race), among: RACES },
        { name: 'ethnicity', type: 'string', sql: partOf('shown', SHOWN.ethnicity), among: ETHNICITIES },
        { name: 'favorite_color', type: 'string', sql: 'color', among: COLORS },
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
