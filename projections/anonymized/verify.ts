/**
 * Holds a build of the anonymized projection against the log: statements of listed fields by record, thing, field, valid time and position; who belongs to
 * which subject, worked out by PostgreSQL from all links at once instead of event by event; and the position up to which it shows anything.
 */
import { copyRows } from '../../src/database/binary-copy.js';
import type { Position } from '../../src/log/event-log.js';
import type { FactKind, Json } from '../../src/mapping/fact.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import type { DecodedEvent, ProjectionVerification, VerificationRun } from '../../src/projecting/projection.js';
import { compareRows, type ComparedRow } from '../../src/projecting/verification/findings.js';
import { statementOf } from '../master/sweep.js';
import { ANONYMIZED_FIELDS } from './declaration.js';
import { anonymizedTables, ASSERTS, ENDS, RETRACTS, VAULT } from './tables.js';

/** Findings read of each kind at most. */
const MOST_ROWS = 1_000;

/** A record's time with a patient, and when a patient's records changed. */
const MEMBERSHIP = `
  create temp table verify_stay on commit drop as
    select record, patient, pos as begins, coalesce(lead(pos) over w, 9223372036854775807) as ends, lag(patient) over w as before
      from (select *, lag(patient) over (partition by record order by pos) as said_before from verify_link) l
     where said_before is distinct from patient
    window w as (partition by record order by pos);
  create temp table verify_change on commit drop as
    select begins as pos, patient from verify_stay where before is not null
    union select begins, before from verify_stay where before is not null;
  create temp table verify_member on commit drop as
    select s.record, c.pos, c.patient from verify_change c join verify_stay s on s.patient = c.patient and s.begins <= c.pos and c.pos < s.ends
    union select s.record, s.begins, s.patient from verify_stay s where s.before is null`;

export const verifyAnonymized =
  (ids: ThingIds): ProjectionVerification =>
  ({ client, build, findings }): VerificationRun => {
    const tables = anonymizedTables(build);
    let done: Position = 0n;
    let spooling = false;
    const makeSpool = async (): Promise<void> => {
      if (spooling) return;
      spooling = true;
      await client.query('create temp table verify_link (record uuid, pos int8, patient uuid) on commit drop');
    };

    async function name(table: string, defect: 'missing' | 'extra', sql: string): Promise<void> {
      const { rows } = await client.query<{ record?: string; patient?: string; pos: Position }>(
        `select * from (${sql}) d order by pos limit ${MOST_ROWS}`,
      );
      for (const { pos, record, patient } of rows) {
        findings.add({
          defect,
          table,
          position: pos.toString(),
          ...(record === undefined ? {} : { record }),
          ...(patient === undefined ? {} : { patient }),
        });
      }
    }

    return {
      async page(events, last) {
        await makeSpool();
        const { rows } = await client.query<StoredFact>(
          `select record, entity, field, valid_from, pos, recorded_at, op, value from ${tables.fact} where pos > $1 and pos <= $2`,
          [done, last],
        );
        compareRows(
          findings,
          'anonymized.fact',
          new Map(events.flatMap((event) => rowsOf(event, ids))),
          rows.map(({ record, entity, field, valid_from, pos, ...columns }) => [
            [record, entity, field, valid_from, pos].join('|'),
            { position: pos, record, columns },
          ]),
        );
        // Of several links of one record in one event the last holds.
        const links = events.flatMap(({ position, envelope }) => {
          const last = new Map((envelope.links ?? []).map((link) => [link.sourceRecordId, link.patientId]));
          return [...last].map(([record, patient]) => [record, position, patient]);
        });
        await copyRows(client, 'verify_link', ['record', 'pos', 'patient'], ['uuid', 'int8', 'uuid'], links);
        done = last;
      },

      async finish() {
        await makeSpool();
        await client.query(MEMBERSHIP);
        const { rows: counts } = await client.query<{ expected: bigint; stored: bigint }>(
          `select (select count(*) from verify_member) as expected, (select count(*) from ${tables.link}) as stored`,
        );
        const count = findings.count('anonymized.link');
        count.expected += counts[0]?.expected ?? 0n;
        count.stored += counts[0]?.stored ?? 0n;
        const member = 'select record, pos, patient from verify_member';
        const stored = `select record, pos, patient from ${tables.link}`;
        await name('anonymized.link', 'missing', `(${member}) except (${stored})`);
        await name('anonymized.link', 'extra', `(${stored}) except (${member})`);
        await name('anonymized.fact', 'extra', `select record, pos from ${tables.fact} where pos > ${done}`);
        // A subject is the patient's own, begun at or before the link, with no younger one between.
        await name(
          'anonymized.subject',
          'extra',
          `select l.record, l.patient, l.pos from ${tables.link} l left join ${VAULT} v using (subject)
          where v.patient is distinct from l.patient or v.begins > l.pos
             or exists (select from ${VAULT} w where w.patient = l.patient and w.begins > v.begins and w.begins <= l.pos)`,
        );
        // A basis of the moment of asking knows everything up to the head; what an erasure took away may have stood there.
        await name(
          'anonymized.state',
          'extra',
          `select head as pos from ${tables.state} where head < coalesce(
           (select max(pos) from (select max(pos) as pos from ${tables.link} union select max(pos) from ${tables.fact}) m), 0)`,
        );
        return undefined;
      },
    };
  };

type ThingIds = Pick<KeyedHashes, 'thing'>;

interface StoredFact {
  readonly record: string;
  readonly entity: bigint;
  readonly field: number;
  readonly valid_from: string;
  readonly pos: Position;
  readonly recorded_at: string;
  readonly op: number;
  readonly value: string | null;
}

function rowsOf({ position, envelope, mapped }: DecodedEvent, ids: ThingIds): (readonly [string, ComparedRow])[] {
  const things = Map.groupBy(mapped.facts, ({ kind, sourceRecordId, key, valid }) =>
    JSON.stringify([kind, sourceRecordId, key, valid.instant]),
  );
  return [...things].flatMap(([thing, facts]) => {
    const [kind, record, key, validFrom] = JSON.parse(thing) as [FactKind, string, string, string];
    const entity = kind === 'PATIENT' ? 0n : ids.thing(record, kind, key);
    const said = statementOf(facts);
    if (said === undefined) return [];
    return ANONYMIZED_FIELDS.filter((field) => field.kind === kind).flatMap((field) => {
      const asserted: Json | undefined = said.asserts[field.slot];
      const value = asserted === undefined ? undefined : field.generalize(asserted);
      const ends = asserted === undefined ? said.whole || said.ends.includes(field.slot) : value === undefined;
      const retracts = said.retracts === '*' || said.retracts.includes(field.slot);
      const op = (value === undefined ? 0 : ASSERTS) | (ends ? ENDS : 0) | (retracts ? RETRACTS : 0);
      if (op === 0) return [];
      const columns = { recorded_at: envelope.recordedAt, op, value: value ?? null };
      return [[[record, entity, field.number, validFrom, position].join('|'), { position, record, columns }] as const];
    });
  });
}
