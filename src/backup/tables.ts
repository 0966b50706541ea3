/** Everything in the database that cannot be made again from the log, and the log itself (DESIGN §1). */

export interface KeptTable {
  readonly table: string;
  readonly columns: readonly string[];
  /** Made by a projection when it is first installed; absent before. */
  readonly optional?: boolean;
}

export const EVENT_TABLE: KeptTable = {
  table: 'log.event',
  columns: ['position', 'batch', 'stream_id', 'revision', 'id', 'type', 'metadata', 'data'],
};

export const KEPT_TABLES: readonly KeptTable[] = [
  { table: 'log.identity', columns: ['id'] },
  { table: 'log.stream', columns: ['id', 'name', 'revision'] },
  { table: 'log.writer', columns: ['epoch', 'head', 'events'] },
  { table: 'log.restored', columns: ['base', 'head', 'mark', 'at'] },
  { table: 'hub.clock_mark', columns: ['writer', 'at', 'head'] },
  { table: 'hub.blob', columns: ['hash', 'length', 'fence', 'reserved_at', 'position'] },
  { table: 'sealing.secret', columns: ['name', 'wrapped', 'kek_id'] },
  { table: 'sealing.data_key', columns: ['key_id', 'owner_id', 'wrapped', 'kek_id', 'destroyed_at'] },
  { table: 'sealing.kek', columns: ['kek_id', 'state', 'since'] },
  {
    table: 'sealing.rotation',
    columns: ['id', 'kek_id', 'started_at', 'finished_at', 'done_to', 'rewrapped', 'total', 'problem'],
  },
  { table: 'sealing.erasure', columns: ['epoch', 'at', 'owners'] },
  // Subject ids and date offsets: random, so that nothing leads to them.
  {
    table: 'anonymized_private.subject',
    columns: ['subject', 'patient', 'begins', 'offset_days'],
    optional: true,
  },
  // What counts analysts have been shown: a later answer depends on it.
  {
    table: 'anonymized_private.release',
    columns: ['knowledge', 'basis', 'dimensions', 'answer'],
    optional: true,
  },
  // What analysts have spent: a restored hub must not give it again. Absent from backups of before there were budgets.
  { table: 'hub.analyst_budget', columns: ['analyst', 'basis', 'question', 'cost', 'asked_at'], optional: true },
];
