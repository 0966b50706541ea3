/**
 * Holds a build of the search projection against the log. The documents of all facts are made anew and kept with their positions; PostgreSQL then
 * sorts them by thing and text, takes the first of each, and looks for it in the table, and the other way round. So neither the hash under which
 * a text is stored nor the order in which batches came takes part.
 */
import { copyRows } from '../../src/database/binary-copy.js';
import type { Position } from '../../src/log/event-log.js';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import type { ProjectionVerification, VerificationRun } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { documentOf } from './document.js';
import { beginningsIn, beginningTable, comparedWords, documentTable, lexemesOf } from './tables.js';

const COLUMNS = ['record', 'kind', 'entity', 'pos', 'lexemes', 'amount', 'day', 'words'] as const;
const TYPES = ['uuid', 'int2', 'int8', 'int8', 'tsvector', 'float8', 'text', 'text'] as const;
/** Findings read at most; the counts of the table say how many rows there are on either side. */
const MOST_ROWS = 10_000;

/** @param hashes the hub's, by which things have their ids */
export function verifySearch(hashes: Pick<KeyedHashes, 'thing'>): ProjectionVerification {
  return ({ client, build, findings }): VerificationRun => {
    let spooling = false;
    const makeSpool = async (): Promise<void> => {
      if (spooling) return;
      spooling = true;
      await client.query(`create temp table verify_document (record uuid, kind int2, entity int8, pos int8, lexemes tsvector,
        amount float8, day text, words text) on commit drop`);
    };
    return {
      async page(events) {
        await makeSpool();
        const rows = events.flatMap(({ mapped, position }) =>
          mapped.facts.flatMap(({ kind, key, sourceRecordId: record, assert }) => {
            const document = assert === undefined ? undefined : documentOf(kind, assert);
            if (document === undefined) return [];
            const thing = [record, FACT_KINDS.indexOf(kind), hashes.thing(record, kind, key)];
            return [
              [
                ...thing,
                position,
                lexemesOf(document),
                document.amount ?? null,
                document.day ?? null,
                comparedWords(document),
              ],
            ];
          }),
        );
        await copyRows(client, 'verify_document', COLUMNS, TYPES, rows);
      },
      async finish() {
        await makeSpool();
        const text = 'record, kind, entity, lexemes::text, amount, day, words';
        const first = `select ${text}, min(pos) as pos from verify_document group by record, kind, entity, lexemes, amount, day, words`;
        const stored = `select ${text}, pos from ${documentTable(build)}`;
        const { rows: counts } = await client.query<{ expected: bigint; stored: bigint }>(
          `select (select count(*) from (${first}) f) as expected, (select count(*) from ${documentTable(build)}) as stored`,
        );
        const count = findings.count('search.document');
        count.expected += counts[0]?.expected ?? 0n;
        count.stored += counts[0]?.stored ?? 0n;
        for (const [defect, left, right] of [
          ['missing', first, stored],
          ['extra', stored, first],
        ] as const) {
          const { rows } = await client.query<{ record: string; pos: Position }>(
            `select record, pos from ((${left}) except all (${right})) d order by pos limit ${MOST_ROWS}`,
          );
          for (const { record, pos } of rows) {
            findings.add({ defect, table: 'search.document', record, position: pos.toString() });
          }
        }
        const expected = beginningsIn('verify_document');
        const { rows: beginnings } = await client.query<Record<'expected' | 'stored' | 'missing' | 'extra', bigint>>(
          `select count(e.beginning) as expected, count(s.beginning) as stored, count(*) filter (where s.beginning is null) as missing,
                  count(*) filter (where e.beginning is null) as extra
             from (${expected}) e full join ${beginningTable(build)} s on s.beginning = e.beginning`,
        );
        const [counted] = beginnings;
        const beginning = findings.count('search.beginning');
        beginning.expected += counted?.expected ?? 0n;
        beginning.stored += counted?.stored ?? 0n;
        for (const defect of ['missing', 'extra'] as const) {
          for (let left = counted?.[defect] ?? 0n; left > 0n; left -= 1n)
            findings.add({ defect, table: 'search.beginning' });
        }
        return undefined;
      },
    };
  };
}
