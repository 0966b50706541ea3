/** Every projection of the hub. A new one is a folder beside these and a line here. */
import type { ProjectionDefinition } from '../src/projecting/projection.js';
import { createAnonymizedProjection } from './anonymized/index.js';
import { createMasterProjection, type MasterHashes } from './master/index.js';
import { createSearchProjection, type SearchProjectionOptions } from './search/index.js';
import { volumeProjection } from './volume/index.js';

/**
 * @param options.hashes the hub's keyed hashes: ids of things are made from them
 * @param options.searchOutside takes the documents of search in place of PostgreSQL
 */
export function createProjections(options: {
  readonly hashes: MasterHashes;
  readonly searchOutside?: SearchProjectionOptions['outside'];
}): readonly ProjectionDefinition[] {
  const { hashes, searchOutside } = options;
  return [
    createMasterProjection(options),
    createAnonymizedProjection(options),
    createSearchProjection({ hashes, ...(searchOutside === undefined ? {} : { outside: searchOutside }) }),
    volumeProjection,
  ];
}
