/** The database role of the anonymized graph: it may read the schema `anonymized` and nothing else. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openClient } from '../database/database.js';

export const ANALYST_ROLE = 'anamnesis_analyst';

/**
 * Makes the role where there is none, sets its password (made once, kept in the data directory, mode 0600) and takes from it
 * and from everybody what PostgreSQL grants by default. The projection grants it the views.
 * @returns URL of the database as that role
 */
export async function ensureAnalystRole(databaseUrl: string, dataDir: string): Promise<string> {
  const file = path.join(dataDir, 'analyst.password');
  if (!existsSync(file)) await writeFile(file, randomBytes(24).toString('hex'), { mode: 0o600 });
  const password = (await readFile(file, 'utf8')).trim();
  const client = await openClient(databaseUrl, { applicationName: 'anamnesis supervisor' });
  try {
    const { rowCount } = await client.query('select 1 from pg_roles where rolname = $1', [ANALYST_ROLE]);
    if (rowCount === 0) await client.query(`create role ${ANALYST_ROLE} nologin`);
    // Not a parameter: ALTER ROLE takes none. The password is hexadecimal.
    const literal = `'${password.replaceAll("'", "''")}'`;
    await client.query(
      `alter role ${ANALYST_ROLE} with login noinherit nosuperuser nocreatedb nocreaterole noreplication password ${literal}`,
    );
    await client.query(`alter role ${ANALYST_ROLE} set default_transaction_read_only = on`);
    const { rows } = await client.query<{ name: string }>('select quote_ident(current_database()) as name');
    const database = rows[0]?.name ?? '';
    await client.query(`revoke create, temporary on database ${database} from public`);
    await client.query('revoke all on schema public from public');
    await client.query(`grant connect on database ${database} to ${ANALYST_ROLE}`);
  } finally {
    await client.end();
  }
  const url = new URL(databaseUrl);
  url.username = ANALYST_ROLE;
  url.password = password;
  return url.href;
}
