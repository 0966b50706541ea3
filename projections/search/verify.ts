/**
 * Holds a build of the search projection against the log. The documents of all facts are made anew and kept with their positions; PostgreSQL then
 * sorts them by thing and text, takes the first of each, and looks for it in the table, and the other way round. So neither the hash under which
 * a text is stored nor the order in which batches came takes part.
 */
import { copyRows } from '../../src/database/binary-copy.js';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import type { ProjectionVerification, VerificationRun } from '../../src/projecting/projection.js';
import { compareSets } from '../../src/projecting/verification/findings.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { documentOf } from './document.js';
import { beginningsIn, beginningTable, comparedWords, documentTable, lexemesOf } from './tables.js';

const COLUMNS = ['record', 'kind', 'entity', 'pos', 'lexemes', 'amount', 'day', 'words'] as const;
const TYPES = ['uuid', 'int2', 'int8', 'int8', 'tsvector', 'float8', 'text', 'text'] as const;

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
        await compareSets(client, findings, 'search.document', {
          expected: `select ${text}, min(pos) as pos from verify_document group by record, kind, entity, lexemes, amount, day, words`,
          stored: `select ${text}, pos from ${documentTable(build)}`,
          place: { position: 'pos', record: 'record' },
        });
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
