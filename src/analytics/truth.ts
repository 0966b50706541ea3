/**
 * Who has which coarse values at a point, in SQL: a temporary table `truth` of subjects, of everybody or of some. Most people have one record of which
 * nothing was ever taken back: for them one sort of their rows finds everything. The others are folded with all their rules.
 */
import {
  COLORS,
  ETHNICITIES,
  fieldNumber,
  PART,
  RACES,
  SEXES,
  VOID,
} from '../../projections/anonymized/declaration.js';
import { CONDITION_GROUPS, ENCOUNTER_CLASSES } from '../../projections/anonymized/codes.js';
import { anonymizedTables, ASSERTS, ENDS, RETRACTS } from '../../projections/anonymized/tables.js';
import type { Instant } from '../time/valid-time.js';
import { CELL, codeOf, packed } from './packing.js';

/** What was known, and of when. */
export interface SnapshotPoint {
  readonly known: { readonly position: string } | { readonly at: Instant };
  /** Year of what was known: who is ninety by then shows no age of before either. Without it that of what is asked about. */
  readonly knownYear?: number;
  /** `now` counts what had begun when it was recorded, and plans from the first month that has begun since. */
  readonly valid: { readonly at: Instant; readonly now: boolean };
  /** When dated rows must have been over, and recorded: the first of a year, but for a site with an expert's determination. */
  readonly released: Instant;
}

/** Records of people who were erased: they are in no snapshot, of whatever basis. */
export const ERASED = 'select unnest(owners) from sealing.erasure';
const NOT_ERASED = `record not in (${ERASED})`;

export function instant(text: Instant): string {
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) throw new RangeError('not an instant');
  return `timestamptz '${text}'`;
}

export function knownBy(known: SnapshotPoint['known']): string {
  if ('at' in known) return `recorded_at <= ${instant(known.at)}`;
  if (!/^\d{1,19}$/.test(known.position)) throw new RangeError('not a position');
  return `pos <= ${known.position}`;
}

function validBy({ at, now }: SnapshotPoint['valid']): string {
  return now ? `(valid_from <= recorded_at or valid_from <= ${instant(at)})` : `valid_from <= ${instant(at)}`;
}

/**
 * The fold of docs/architecture.md §8 in SQL, per field of a thing of a record: at one valid time a retraction hides every earlier row, and one
 * that finds none the first that comes later; of what is left the greatest (valid_from, pos) stands; an end of what never stood is nothing.
 * Where nothing was ever retracted, which is nearly everywhere, the greatest row is all there is to find: one sort of the rows instead of three.
 */
export function fold(fact: string, fields: readonly number[], known: string, valid: string, within = 'true'): string {
  const where = `field in (${fields.join(', ')}) and ${known} and ${valid} and ${NOT_ERASED} and ${within}`;
  const slot = 'record, entity, field';
  return `
    with retracted as materialized (
      select distinct ${slot} from ${fact} where op & ${RETRACTS} <> 0 and ${where}
    ), plain as (
      select distinct on (${slot}) ${slot}, valid_from, pos, op & ${ASSERTS} <> 0 as asserts, value
        from ${fact} where ${where} and not exists (select from retracted r where (r.record, r.entity, r.field) = (${fact}.record, ${fact}.entity, ${fact}.field))
       order by ${slot}, valid_from desc, pos desc
    )
    select * from plain
     where asserts or exists (
       select from ${fact} stood where (stood.record, stood.entity, stood.field) = (plain.record, plain.entity, plain.field)
          and stood.op & ${ASSERTS} <> 0 and ${known} and ${valid})
    union all
    select * from (
      select distinct on (${slot}) ${slot}, valid_from, pos, op & ${ASSERTS} <> 0 as asserts, value
        from (
          select *, bool_or(op & ${ASSERTS} <> 0) over (partition by ${slot} order by valid_from, pos) as stood
            from (
              select ${slot}, valid_from, pos, op, value,
                     max(case when op & ${RETRACTS} <> 0 then pos end) over at as retracted,
                     min(case when op & ${ASSERTS | ENDS} <> 0 then pos end) over at as spoken,
                     bool_or(op & ${ASSERTS} <> 0) over at as stated,
                     first_value(op) over (at order by pos) as first_op
                from ${fact}
               where (${slot}) in (select ${slot} from retracted) and ${where}
              window at as (partition by ${slot}, valid_from)
            ) known
           where op & ${ASSERTS | ENDS} <> 0 and pos >= coalesce(retracted, pos) and not (first_op = ${RETRACTS} and pos = spoken)
        ) visible
       where stood or stated
       order by ${slot}, valid_from desc, pos desc
    ) folded`;
}

const PERSON_FIELDS = ['favoriteColor', 'birthYear', 'sex', 'zip3', 'race', 'ethnicity'] as const;

/** Fields that counts and rows are made of. */
const COUNTED = [
  ...PERSON_FIELDS.map(fieldNumber),
  fieldNumber('encounter.class'),
  fieldNumber('encounter.status'),
  fieldNumber('condition'),
];

/** Which record is which subject at a point. */
export function memberStatement(link: string, known: string, within = 'true'): string {
  return `create temp table member on commit drop as
    select distinct on (record) record, subject from ${link} where ${known} and ${NOT_ERASED} and ${within} order by record, pos desc`;
}

/** Some subjects: those of the temporary table `concerned`; all their records are in `touched`, and what was ever said of these in `said`. */
export type Within = 'concerned' | 'everybody';

/** Statements that make `truth`, and leave nothing else. */
export function truthStatements(build: number, { known: asked, valid: at }: SnapshotPoint, of: Within): string[] {
  const { link, fact: facts } = anonymizedTables(build);
  const some = of === 'concerned';
  const fact = some ? 'said' : facts;
  const known = knownBy(asked);
  const valid = validBy(at);
  const pivots = PERSON_FIELDS.map(
    (field) => `max(value) filter (where field = ${fieldNumber(field)} and asserts) as ${field.toLowerCase()}`,
  );
  const columns = PERSON_FIELDS.map((field) => field.toLowerCase());
  const classBit = (sql: string): string => `1 << (${codeOf(sql, ENCOUNTER_CLASSES)} - 1)`;
  const groupBit = (sql: string): string =>
    `1 << (${codeOf(`split_part(${sql}, '${PART}', 1)`, CONDITION_GROUPS)} - 1)`;
  const seen = `field in (${COUNTED.join(', ')}) and ${known} and ${valid}`;
  return [
    memberStatement(link, known, some ? 'record in (select record from touched)' : 'true'),
    ...(some ? ['delete from member where subject not in (select subject from concerned)'] : []),
    'create index on member (record)',
    'analyze member',
    `create temp table intricate on commit drop as
       select m.record from member m join (select subject from member group by subject having count(*) > 1) several on several.subject = m.subject
       union
       select record from ${fact} where op & ${RETRACTS} <> 0 and ${seen} and record in (select record from member)`,
    'analyze intricate',
    `create temp table plain on commit drop as
       select record, ${columns.map((column) => `max(${column}) as ${column}`).join(', ')},
              bit_or(${classBit('class')}) filter (where class is not null and status is distinct from '${VOID}') as classes,
              bit_or(${groupBit('condition')}) filter (where condition is not null) as conditions, bool_or(asserts) as asserts
         from (
           select record, entity, ${pivots.join(', ')},
                  max(value) filter (where field = ${fieldNumber('encounter.class')} and asserts) as class,
                  max(value) filter (where field = ${fieldNumber('encounter.status')} and asserts) as status,
                  max(value) filter (where field = ${fieldNumber('condition')} and asserts) as condition, bool_or(asserts) as asserts
             from (
               select distinct on (record, entity, field) record, entity, field, op & ${ASSERTS} <> 0 as asserts, value
                 from ${fact} f where ${seen} and ${NOT_ERASED} and not exists (select from intricate i where i.record = f.record)
                      ${some ? 'and record in (select record from member)' : ''}
                order by record, entity, field, valid_from desc, pos desc
             ) slot group by record, entity
         ) thing group by record`,
    'analyze plain',
    // Whose every slot ends: a person only if something stood before.
    ...(at.now
      ? []
      : [
          `delete from plain where not asserts and not exists (
             select from ${fact} stood where stood.record = plain.record and stood.op & ${ASSERTS} <> 0 and ${seen})`,
        ]),
    `create temp table folded on commit drop as ${fold(fact, COUNTED, known, valid, 'record in (select record from intricate)')}`,
    'analyze folded',
    // Of several records of one person the latest word counts.
    `create temp table person on commit drop as
       select subject, ${pivots.join(', ')} from (
         select distinct on (m.subject, f.field) m.subject, f.field, f.asserts, f.value
           from folded f join member m on m.record = f.record where f.entity = 0
          order by m.subject, f.field, f.valid_from desc, f.pos desc
       ) latest group by subject`,
    `create temp table truth on commit drop as
       select subject, birthyear::int2 as born,
              ${packed([
                [codeOf('sex', SEXES), CELL.sex],
                [codeOf('race', RACES), CELL.race],
                [codeOf('favoritecolor', COLORS), CELL.color],
                [codeOf('ethnicity', ETHNICITIES), CELL.ethnicity],
                ['coalesce(zip3::int + 1, 0)', CELL.zip3],
              ])} as cell, coalesce(classes, 0) as classes, coalesce(conditions, 0) as conditions
         from (
           select m.subject, ${columns.map((column) => `p.${column}`).join(', ')}, p.classes, p.conditions
             from member m ${at.now ? 'left join' : 'join'} plain p on p.record = m.record
            where not exists (select from intricate i where i.record = m.record)
           union all
           select e.subject, ${columns.map((column) => `p.${column}`).join(', ')}, v.classes, c.conditions
             from (
               select distinct m.subject from member m join ${at.now ? 'intricate' : 'folded'} f on f.record = m.record
             ) e
             left join person p on p.subject = e.subject
             left join (
               select m.subject, bit_or(${classBit('k.value')}) as classes
                 from folded k join member m on m.record = k.record
                 left join folded s on s.record = k.record and s.entity = k.entity and s.field = ${fieldNumber('encounter.status')}
                where k.field = ${fieldNumber('encounter.class')} and k.asserts and s.value is distinct from '${VOID}'
                group by m.subject
             ) v on v.subject = e.subject
             left join (
               select m.subject, bit_or(${groupBit('k.value')}) as conditions
                 from folded k join member m on m.record = k.record
                where k.field = ${fieldNumber('condition')} and k.asserts group by m.subject
             ) c on c.subject = e.subject
         ) everybody`,
    'drop table member, intricate, plain, folded, person',
  ];
}

/** What only rows that are there at one of two points alone can meet, in terms of the indexes of the tables. */
function apart(one: SnapshotPoint['known'], other: SnapshotPoint['known']): string {
  if ('at' in one && 'at' in other) {
    const [from, to] = [one.at, other.at].sort() as [Instant, Instant];
    return `recorded_at > ${instant(from)} and ${knownBy({ at: to })}`;
  }
  if ('position' in one && 'position' in other) {
    const [from, to] = BigInt(one.position) < BigInt(other.position) ? [one, other] : [other, one];
    return `pos > ${from.position} and ${knownBy(to)}`;
  }
  const [{ position }, { at }] = ('position' in one ? [one, other] : [other, one]) as [
    { position: string },
    { at: Instant },
  ];
  return `(pos > ${position} or recorded_at > ${instant(at)})`;
}

/**
 * Statements that make `concerned`, `touched` and `said`: whoever may be another at one point than at the other, for a fact or a link of theirs is there at one
 * alone, with all records that were ever the same subject's. Whoever is not among them has the same values at both points, but for the age.
 */
export function concernedStatements(build: number, one: SnapshotPoint, other: SnapshotPoint): string[] {
  const { link, fact } = anonymizedTables(build);
  const seen = ({ known, valid }: SnapshotPoint): string => `(${knownBy(known)} and ${validBy(valid)})`;
  const [from, to] = [one.valid.at, other.valid.at].sort() as [Instant, Instant];
  const known = apart(one.known, other.known);
  const either = from === to ? known : `(${known} or valid_from > ${instant(from)} and valid_from <= ${instant(to)})`;
  const subjectsAt = ({ known }: SnapshotPoint): string => `
    select subject, patient from (
      select distinct on (record) record, subject, patient from ${link} where ${knownBy(known)} and record in (select record from moved) order by record, pos desc
    ) latest`;
  return [
    `create temp table moved on commit drop as
       select record from ${fact} where field in (${COUNTED.join(', ')}) and ${either} and ${seen(one)} <> ${seen(other)}
       union select record from ${link} where ${known} and (${knownBy(one.known)}) <> (${knownBy(other.known)})`,
    'analyze moved',
    `create temp table concerned on commit drop as ${subjectsAt(one)} union ${subjectsAt(other)}`,
    'analyze concerned',
    `create temp table touched on commit drop as
       select distinct l.record from ${link} l join concerned c on c.patient = l.patient and c.subject = l.subject`,
    'analyze touched',
    `create temp table said on commit drop as select * from ${fact} where field in (${COUNTED.join(', ')}) and record in (select record from touched)`,
    'create index on said (record)',
    'analyze said',
  ];
}
