/** Entry point of a role's process. Only the role's own modules are loaded. */
import 'reflect-metadata';
import type { Role } from '../config/config.js';
import { runRole } from './child-runtime.js';
import type { StartRole } from './role.js';

const LOAD: Readonly<Record<Role, () => Promise<StartRole>>> = {
  ingest: async () => (await import('../inbound/ingest-role.js')).startIngestRole,
  project: async () => (await import('../projecting/project-role.js')).startProjectRole,
  query: async () => (await import('../query/query-role.js')).startQueryRole,
};

runRole((role) => LOAD[role]());
