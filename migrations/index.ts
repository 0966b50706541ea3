import type { MigrationInterface } from 'typeorm';
import { Log1763700001000 } from './001-log.js';
import { Sealing1763700002000 } from './002-sealing.js';
import { Identity1763700003000 } from './003-identity.js';
import { Inbound1763700004000 } from './004-inbound.js';
import { Projecting1763700005000 } from './005-projecting.js';
import { Evidence1763700006000 } from './006-evidence.js';
import { Vault1763700007000 } from './007-vault.js';
import { Sources1763700008000 } from './008-sources.js';
import { Letters1763700009000 } from './009-letters.js';
import { ApplicationAcks1763700010000 } from './010-application-acks.js';
import { FhirResources1763700011000 } from './011-fhir-resources.js';
import { LogAdvance1763700013000 } from './013-log-advance.js';
import { LogCopy1763700014000 } from './014-log-copy.js';
import { IdentityTenant1763700015000 } from './015-identity-tenant.js';
import { IdentityClaims1763700017000 } from './017-identity-claims.js';
import { ProjectingLoads1763700018000 } from './018-projecting-loads.js';
import { Verification1763700019000 } from './019-verification.js';
import { Lanes1763700028000 } from './028-lanes.js';
import { Leases1763700038000 } from './038-leases.js';
import { Projected1763700048000 } from './048-projected.js';
import { EventPlaces1763700052000 } from './052-event-places.js';
import { Forgotten1763700053000 } from './053-forgotten.js';
import { AnalystBudget1763700054000 } from './054-analyst-budget.js';
import { SearchPending1763700059000 } from './059-search-pending.js';
import { AskedTables1763700069000 } from './069-asked-tables.js';
import { Shapes1763700070000 } from './070-shapes.js';
import { SearchBeginnings1763700074000 } from './074-search-beginnings.js';
import { LetGo1763700076000 } from './076-let-go.js';
import { CrowdedKeys1763700082000 } from './082-crowded-keys.js';

/** Every migration, oldest first. Append only: a released migration never changes. */
export const MIGRATIONS: (new () => MigrationInterface)[] = [
  // prettier-ignore
  Log1763700001000,
  Sealing1763700002000,
  Identity1763700003000,
  Inbound1763700004000,
  Projecting1763700005000,
  Evidence1763700006000,
  Vault1763700007000,
  Sources1763700008000,
  Letters1763700009000,
  ApplicationAcks1763700010000,
  FhirResources1763700011000,
  LogAdvance1763700013000,
  LogCopy1763700014000,
  IdentityTenant1763700015000,
  IdentityClaims1763700017000,
  ProjectingLoads1763700018000,
  Verification1763700019000,
  Lanes1763700028000,
  Leases1763700038000,
  Projected1763700048000,
  EventPlaces1763700052000,
  Forgotten1763700053000,
  AnalystBudget1763700054000,
  SearchPending1763700059000,
  AskedTables1763700069000,
  Shapes1763700070000,
  SearchBeginnings1763700074000,
  LetGo1763700076000,
  CrowdedKeys1763700082000,
];
