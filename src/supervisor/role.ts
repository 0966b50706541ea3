/** What a role's process gets from the supervisor, and what it gives back once it runs. */
import type { Logger } from 'pino';
import type { HubConfig, Role } from '../config/config.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** How a role stands, as the supervisor sees it. */
export interface RoleState {
  readonly role: Role;
  readonly state: 'starting' | 'ready' | 'stopping' | 'down';
  /** Process id; absent while down. */
  readonly pid?: number;
  /** How often its process has ended unwanted since the hub started. */
  readonly restarts: number;
}

/** Questions a role can put to its supervisor. */
export interface SupervisorLink {
  /** Metrics of all processes of this hub in the Prometheus text format, each with a label `role`. */
  metrics(): Promise<string>;
  /** All roles of this hub. */
  roles(): Promise<readonly RoleState[]>;
}

export interface RoleContext {
  readonly role: Role;
  readonly config: HubConfig;
  /** The hub's PostgreSQL: log, stores and operational state. Holds a password: never log it. */
  readonly databaseUrl: string;
  /** The same database as the role `anamnesis_analyst`, which has rights in the schema `anonymized` and nowhere else. */
  readonly analystDatabaseUrl: string;
  /** Absolute path of the data directory. */
  readonly dataDir: string;
  /** Where this role's HTTP server listens: the public address for ingest; a loopback port for query where there is an ingest role. */
  readonly listen: Address;
  /**
   * Where the query role answers; ingest passes every path that is not its own there. Read it anew for every request:
   * it is undefined until the query role runs, and changes when that is started again on another port.
   */
  readonly queryAddress?: Address;
  /** Shared by the ingest role and the query role behind it, made at every start: what the one says of who asks is signed with it. */
  readonly proxySecret?: string;
  readonly logger: Logger;
  readonly supervisor: SupervisorLink;
}

/** A role that runs: its sockets are open, and what it needs is there. */
export interface RunningRole {
  /** `http`: `http://127.0.0.1:8080`; `mllp`: `127.0.0.1:2575`. */
  readonly addresses: { readonly http?: string; readonly mllp?: string };
  /** Accepts nothing new, finishes and answers what is in flight, stores checkpoints. Called once. */
  stop(): Promise<void>;
}

export type StartRole = (context: RoleContext) => Promise<RunningRole>;
