/** Which roles may use which path (docs/operations.md, "Who may do what"). What stands nowhere here is for people who have logged in. */
import { AUTH_ROLES, type AuthRole } from './principal.js';

export interface EndpointRule {
  readonly method?: readonly string[];
  readonly path: RegExp;
  /** As docs and `openapi.json` show it. */
  readonly shown: string;
  readonly roles: readonly AuthRole[] | 'open';
}

const READ = ['GET', 'HEAD'];

/** The first that fits counts. */
export const ENDPOINT_RULES: readonly EndpointRule[] = [
  { path: /^\/health\/(live|ready)\/?$/, shown: '/health/live, /health/ready', roles: 'open' },
  { method: READ, path: /^\/(openapi\.json)?$/, shown: '/, /openapi.json', roles: 'open' },
  { path: /^\/metrics\/?$/, shown: '/metrics', roles: ['engineer'] },
  { path: /^\/(hl7|events|messages)(\/|$)/, shown: '/hl7, /events, /messages', roles: ['source'] },
  { method: ['POST', 'PUT'], path: /^\/fhir(\/(?!_)[^/]+){0,2}\/?$/, shown: 'POST and PUT /fhir…', roles: ['source'] },
  { method: READ, path: /^\/fhir\/metadata\/?$/, shown: '/fhir/metadata', roles: 'open' },
  { path: /^\/fhir(\/|$)/, shown: 'other /fhir…', roles: ['auditor', 'clinician'] },
  { path: /^\/receipts\//, shown: '/receipts/<id>', roles: ['source', 'auditor', 'clinician', 'engineer'] },
  { path: /^\/graphql\/analytics\/?$/, shown: '/graphql/analytics', roles: ['analyst'] },
  { path: /^\/graphql\/?$/, shown: '/graphql', roles: ['auditor', 'clinician', 'engineer'] },
];

/** @param path without the query */
export function rolesFor(method: string, path: string): readonly AuthRole[] | 'open' {
  // Routers do not mind the case of a path.
  const plain = path.toLowerCase();
  const rule = ENDPOINT_RULES.find(
    (one) => one.path.test(plain) && (one.method === undefined || one.method.includes(method)),
  );
  return rule?.roles ?? AUTH_ROLES;
}
