/** `anamnesis keys rotate --signing`: another key that tree heads are signed with (docs/evidence.md). */
import { createPublicKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { openPool } from '../../database/database.js';
import { askForNextKey, loadNextKey, loadSigningKey } from '../../log/evidence/signing-key.js';
import { keyIdOf } from '../../log/evidence/tree-head.js';
import { fileKeyProvider } from '../../sealing/key-provider.js';
import { CliError } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, type CommonOptions } from '../options.js';

const POLL_MS = 250;
/** The hub that keeps the tree looks every second. */
const WAIT_MS = 20_000;

export async function rotateSigningKey(options: CommonOptions): Promise<void> {
  const config = configOf(options);
  if (!existsSync(config.masterKeyFile)) throw new CliError('the master key is needed here: it wraps the signing key');
  const kek = await fileKeyProvider(config.masterKeyFile);
  const asked = await withHubDatabase(config, async ({ url, running }) => {
    const pool = openPool(url, { max: 2 });
    try {
      const old = await loadSigningKey(pool, kek);
      if (old === undefined) throw new CliError('this hub has no signing key yet: it is made with the first start');
      const next = await askForNextKey(pool, kek);
      const before = keyIdOf(createPublicKey(old));
      const id = keyIdOf(createPublicKey(next));
      const deadline = performance.now() + (running ? WAIT_MS : 0);
      let done = false;
      while (!done && performance.now() < deadline) {
        await pause(POLL_MS);
        done = (await loadNextKey(pool, kek)) === undefined;
      }
      return { id, before, done };
    } finally {
      await pool.end();
    }
  });
  if (options.json === true) console.log(JSON.stringify(asked));
  else if (asked.done)
    console.log(`tree heads are signed by key ${asked.id} now; the private part of ${asked.before} is gone`);
  else
    console.log(
      `key ${asked.id} follows ${asked.before} as soon as a hub keeps the tree: within seconds where one runs, else with the next start`,
    );
}
