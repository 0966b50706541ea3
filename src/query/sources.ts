/** Sources as the graph shows them. */
import type { SourceDirectory } from '../inbound/sources.js';

export interface SourceView {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly version: number;
  readonly settings: object;
}

export interface SourceList {
  /** By id. */
  all(): Promise<readonly SourceView[]>;
}

/** Sources of a directory, with every setting that is in force. */
export function sourceList(directory: SourceDirectory): SourceList {
  return {
    all: async () =>
      directory.all().map(({ id, kind, enabled, version, ...settings }) => ({ id, kind, enabled, version, settings })),
  };
}
