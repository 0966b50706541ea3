/** Columns of the tables whose rows an event gives, in order, with their types: for writing them, and for holding them against the log. */
import type { CopyType } from '../../src/database/binary-copy.js';

type Columns = Readonly<Record<string, CopyType>>;

const VALID = { valid_text: 'text', valid_field: 'text', valid_flags: 'int2' } as const;

/** `key` finds one row. */
interface TableColumns {
  readonly key: readonly string[];
  readonly columns: Columns;
}

export const MASTER_COLUMNS = {
  fact: {
    key: ['record', 'kind', 'entity', 'valid_from', 'pos'],
    columns: {
      record: 'uuid',
      kind: 'int2',
      entity: 'int8',
      valid_from: 'timestamptz',
      pos: 'int8',
      recorded_at: 'timestamptz',
      event_id: 'uuid',
      ...VALID,
      key: 'text',
      body: 'jsonb',
      shape: 'int8',
    },
  },
  link: {
    key: ['record', 'pos'],
    columns: {
      record: 'uuid',
      pos: 'int8',
      patient: 'uuid',
      recorded_at: 'timestamptz',
      event_id: 'uuid',
      reason: 'text',
    },
  },
  message: {
    key: ['event_id'],
    columns: {
      event_id: 'uuid',
      pos: 'int8',
      type: 'text',
      version: 'text',
      content_type: 'text',
      source: 'text',
      source_version: 'int4',
      record: 'uuid',
      patient: 'uuid',
      recorded_at: 'timestamptz',
      source_recorded_at: 'text',
      control_hash: 'bytea',
      parked_code: 'text',
      parked_path: 'text',
      parked_offset: 'int4',
      duplicate_of: 'uuid',
      unmapped: 'text[]',
      state: 'text',
    },
  },
  note: {
    key: ['record', 'valid_from', 'pos', 'seq'],
    columns: {
      record: 'uuid',
      valid_from: 'timestamptz',
      pos: 'int8',
      seq: 'int2',
      recorded_at: 'timestamptz',
      event_id: 'uuid',
      ...VALID,
      title: 'text',
    },
  },
} as const satisfies Readonly<Record<string, TableColumns>>;

/** One of those tables. */
export type MasterTable = keyof typeof MASTER_COLUMNS;

function written(table: MasterTable): { readonly columns: readonly string[]; readonly types: readonly CopyType[] } {
  const columns: Columns = MASTER_COLUMNS[table].columns;
  return { columns: Object.keys(columns), types: Object.values(columns) };
}

/** Names and types as a COPY takes them. */
export const WRITTEN = {
  fact: written('fact'),
  link: written('link'),
  message: written('message'),
  note: written('note'),
} as const;
