/** Sources as the graph shows them. */
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
