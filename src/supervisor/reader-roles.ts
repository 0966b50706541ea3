/** Database roles that read, and nothing else: the anonymized graph's, which sees the schema `anonymized`, and the auditor's, which may call what is in `audit`. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { AUDIT_FUNCTIONS, AUDIT_SCHEMA, auditFunctions } from '../auditing/functions.js';
import { openClient } from '../database/database.js';

export const ANALYST_ROLE = 'anamnesis_analyst';
export const AUDITOR_ROLE = 'anamnesis_auditor';

/** Makes the role of the anonymized graph; the projection grants it the views. @returns URL of the database as that role */
export function ensureAnalystRole(databaseUrl: string, dataDir: string): Promise<string> {
  return ensureRole(databaseUrl, path.join(dataDir, 'analyst.password'), ANALYST_ROLE, async () => undefined);
}

/** Makes the auditor's role and the functions that it may call. @returns URL of the database as that role */
export function ensureAuditorRole(databaseUrl: string, dataDir: string): Promise<string> {
  return ensureRole(databaseUrl, path.join(dataDir, 'auditor.password'), AUDITOR_ROLE, async (client) => {
    await client.query('begin');
    // Two hubs on one database start at the same time, and functions cannot be replaced twice at once.
    await client.query("select pg_advisory_xact_lock(hashtextextended('anamnesis audit functions', 0))");
    for (const statement of auditFunctions()) await client.query(statement);
    await client.query(`grant usage on schema ${AUDIT_SCHEMA} to ${AUDITOR_ROLE}`);
    for (const name of AUDIT_FUNCTIONS)
      await client.query(`grant execute on function ${AUDIT_SCHEMA}.${name} to ${AUDITOR_ROLE}`);
    await client.query('commit');
  });
}

/**
 * Makes a role where there is none, sets its password (made once, kept in the data directory, mode 0600) and takes from it and from
 * everybody what PostgreSQL grants by default.
 */
async function ensureRole(
  databaseUrl: string,
  passwordFile: string,
  role: string,
  grant: (client: pg.Client) => Promise<void>,
): Promise<string> {
  if (!existsSync(passwordFile)) await writeFile(passwordFile, randomBytes(24).toString('hex'), { mode: 0o600 });
  const password = (await readFile(passwordFile, 'utf8')).trim();
  const client = await openClient(databaseUrl, { applicationName: 'anamnesis supervisor' });
  try {
    const { rowCount } = await client.query('select 1 from pg_roles where rolname = $1', [role]);
    if (rowCount === 0) await client.query(`create role ${role} nologin`);
    // Not a parameter: ALTER ROLE takes none. The password is hexadecimal.
    const literal = `'${password.replaceAll("'", "''")}'`;
    await client.query(
      `alter role ${role} with login noinherit nosuperuser nocreatedb nocreaterole noreplication password ${literal}`,
    );
    await client.query(`alter role ${role} set default_transaction_read_only = on`);
    const { rows } = await client.query<{ name: string }>('select quote_ident(current_database()) as name');
    const database = rows[0]?.name ?? '';
    await client.query(`revoke create, temporary on database ${database} from public`);
    await client.query('revoke all on schema public from public');
    await client.query(`grant connect on database ${database} to ${role}`);
    await grant(client);
  } finally {
    await client.end();
  }
  const url = new URL(databaseUrl);
  url.username = role;
  url.password = password;
  return url.href;
}
