/** Every projection of the hub, by name. A new one is a folder beside these and a line here. */
import type { ProjectionDefinition } from '../src/projecting/projection.js';

export const PROJECTIONS: readonly ProjectionDefinition[] = [];
