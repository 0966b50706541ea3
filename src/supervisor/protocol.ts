/** What a supervisor and the processes of its roles say to each other over the IPC channel. */
import type { HubConfig, Role } from '../config/config.js';
import type { Address, RoleState, RunningRole } from './role.js';

/** Everything of a RoleContext that can be sent. */
export interface SentContext {
  readonly role: Role;
  readonly config: HubConfig;
  readonly databaseUrl: string;
  readonly analystDatabaseUrl: string;
  readonly dataDir: string;
  readonly listen: Address;
  readonly queryAddress?: Address;
  readonly proxySecret?: string;
}

export type ToRole =
  | { readonly type: 'start'; readonly context: SentContext }
  | { readonly type: 'query-address'; readonly address?: Address }
  | { readonly type: 'stop' }
  | { readonly type: 'collect'; readonly id: number }
  | { readonly type: 'answer'; readonly id: number; readonly metrics?: string; readonly roles?: readonly RoleState[] };

export type FromRole =
  | { readonly type: 'ready'; readonly addresses: RunningRole['addresses'] }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  /** `metrics`: prom-client's JSON form. */
  | { readonly type: 'collected'; readonly id: number; readonly metrics: readonly object[] }
  | { readonly type: 'ask'; readonly id: number; readonly what: 'metrics' | 'roles' };
