/** Sources as the graph shows them. */
import type { SourceSettings } from '../config/config.js';
import type { SourceDirectory } from '../inbound/sources.js';
import type { Json } from '../mapping/fact.js';

export interface SourceView {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly version: number;
  readonly settings: { readonly [name: string]: Json };
}

export interface SourceList {
  /** By id. */
  all(): Promise<readonly SourceView[]>;
}

const BUILT_IN = ['file', 'http', 'mllp'];

/** The built-in sources and those of the configuration. */
export function sourceList(settings: Readonly<Record<string, SourceSettings>>, directory: SourceDirectory): SourceList {
  const ids = [...new Set([...BUILT_IN, ...Object.keys(settings)])].sort();
  const views = ids.flatMap((id): SourceView[] => {
    const source = directory.find(id);
    if (source === undefined) return [];
    const { id: _id, kind, enabled, version, trustedIdentifierTypes, ...plain } = source;
    return [
      {
        id,
        kind,
        enabled,
        version,
        settings: { ...plain, trustedIdentifierTypes: [...trustedIdentifierTypes] },
      },
    ];
  });
  return { all: async () => views };
}
