/** Table of the search projection. */
import type { Build } from '../../src/projecting/projection.js';

/** Physical name of a build's table. */
export function documentTable(build: Build): string {
  return `search.document_v${build}`;
}
