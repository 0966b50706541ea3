import type { HubConfig } from '../../config/config.js';
import type { SourceDefaults } from '../source.js';

/** What sources take from the hub's configuration where nothing is set: no part of a source's version. */
export function sourceDefaults(config: Pick<HubConfig, 'timeZone' | 'mllp' | 'limits'>): SourceDefaults {
  return { timeZone: config.timeZone, mllp: config.mllp, maxFrameBytes: config.limits.frameBytes };
}
