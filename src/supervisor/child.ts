/** Entry point of a role's process. Only the role's own modules are loaded. */
import 'reflect-metadata';
import type { Role } from '../config/config.js';
import { runRole } from './child-runtime.js';
import type { StartRole } from './role.js';

const ENTRY: Readonly<Record<Role, readonly [module: string, start: string]>> = {
  ingest: ['../inbound/ingest-role.js', 'startIngestRole'],
  project: ['../projecting/project-role.js', 'startProjectRole'],
  query: ['../query/query-role.js', 'startQueryRole'],
};

runRole(async (role) => {
  const [module, start] = ENTRY[role];
  return ((await import(module)) as Record<string, StartRole>)[start] as StartRole;
});
