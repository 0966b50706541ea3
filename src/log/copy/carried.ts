/** What a hub's database holds beside the log that cannot be derived from it, carried along to another database (DESIGN §1). */
import { pipeline } from 'node:stream/promises';
import type { ClientBase } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { installVault } from '../../../projections/anonymized/tables.js';

/** In an order in which rows may refer to rows before them. */
const TABLES = [
  'sealing.kek',
  'sealing.secret',
  'sealing.data_key',
  'sealing.rotation',
  'sealing.erasure',
  'hub.clock_mark',
  'hub.blob',
  'log.restored',
  'evidence.tile',
  'evidence.head',
  'anonymized_private.subject',
  'anonymized_private.release',
  'hub.analyst_budget',
] as const;

/**
 * Replaces these tables in the target by the source's, in one transaction.
 * @returns names of the tables that were carried
 */
export async function carryAlong(source: ClientBase, target: ClientBase): Promise<string[]> {
  const carried: string[] = [];
  await source.query('begin isolation level repeatable read read only');
  await target.query('begin');
  try {
    for (const table of TABLES) {
      if (!(await exists(source, table))) continue;
      // Only where the hub has used the anonymized model: its own tables come with its first start.
      if (table.startsWith('anonymized_private.'))
        for (const statement of installVault()) await target.query(statement);
      await target.query(`delete from ${table}`);
      const columns = await columnsOf(source, table);
      await pipeline(
        source.query(copyTo(`copy ${table} (${columns}) to stdout with (format binary)`)),
        target.query(copyFrom(`copy ${table} (${columns}) from stdin with (format binary)`)),
      );
      carried.push(table);
    }
    await target.query('commit');
  } catch (error) {
    await target.query('rollback').catch(() => undefined);
    throw error;
  } finally {
    await source.query('commit').catch(() => undefined);
  }
  return carried;
}

async function exists(client: ClientBase, table: string): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>('select to_regclass($1) is not null as there', [table]);
  return rows[0]?.there === true;
}

async function columnsOf(client: ClientBase, table: string): Promise<string> {
  const { rows } = await client.query<{ names: string }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as names from pg_attribute
     where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
    [table],
  );
  return rows[0]?.names ?? '';
}
