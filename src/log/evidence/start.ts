/** The keeper of the tree as the ingest role runs it: over the folder that the configuration names, measured. */
import type pg from 'pg';
import type { Logger } from 'pino';
import type { HubConfig } from '../../config/config.js';
import { gauge } from '../../operations/metrics.js';
import type { KeyProvider } from '../../sealing/key-provider.js';
import type { EventLogReader } from '../event-log.js';
import { FolderHeadStore } from './head-store.js';
import { TreeKeeper } from './keeper.js';
import { openSigningKey, storedNextKey } from './signing-key.js';

export { witnessed } from './keeper.js';

export interface KeeperParts {
  readonly config: Pick<HubConfig, 'treeHeads'>;
  /** The hub's PostgreSQL. */
  readonly pool: pg.Pool;
  readonly masterKey: KeyProvider;
  readonly reader: EventLogReader;
  readonly logger: Logger;
}

/**
 * Checks the log against the last signed head and goes on behind it.
 * @throws LogContradictsHeadError, BadHeadError, HeadStoreError, MasterKeyError
 */
export async function startTreeKeeper(parts: KeeperParts): Promise<TreeKeeper> {
  const { config, pool, masterKey, reader, logger } = parts;
  const keeper = await TreeKeeper.open({
    pool,
    reader,
    heads: new FolderHeadStore(config.treeHeads),
    key: await openSigningKey(pool, masterKey),
    nextKey: storedNextKey(pool, masterKey),
    onTrouble: (error) => logger.warn({ err: error }, 'the evidence of the log is in trouble; it goes on trying'),
  });
  const unsigned = gauge('anamnesis_log_unsigned_events', 'Events of the tree that no signed head covers yet');
  const signedAt = gauge('anamnesis_log_signed_position', 'Position of the last event under a signed tree head');
  keeper.onSigned = () => {
    const { size, signed } = keeper.state;
    unsigned.set(size - (signed?.size ?? 0));
    signedAt.set(Number(signed?.position ?? 0n));
  };
  keeper.onSigned();
  return keeper;
}
