/** The sources of this process in memory: a lookup by id costs the same with one source as with a thousand. */
import { resolveSource, type SourceConfiguration, type SourceDefaults } from '../source.js';
import type { SourceChange, SourceDirectory } from '../sources.js';
import type { StoredSource } from './decide.js';

export class LiveSources implements SourceDirectory {
  private readonly sources = new Map<string, SourceConfiguration>();
  private sorted: readonly SourceConfiguration[] | undefined;
  private readonly listeners = new Set<(change: SourceChange) => void>();

  /** @param onTrouble told what a listener threw: one that fails costs neither the others nor the change */
  constructor(
    private readonly defaults: SourceDefaults,
    private readonly onTrouble: (error: unknown) => void,
  ) {}

  find(id: string): SourceConfiguration | undefined {
    return this.sources.get(id);
  }

  all(): readonly SourceConfiguration[] {
    return (this.sorted ??= [...this.sources.values()].sort((left, right) => (left.id < right.id ? -1 : 1)));
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Takes a version in; an older one than is known changes nothing. */
  take(stored: StoredSource): void {
    const before = this.sources.get(stored.id);
    if (before !== undefined && before.version >= stored.version) return;
    const after = resolveSource(stored.id, stored.version, stored.settings, this.defaults);
    this.sources.set(stored.id, after);
    this.sorted = undefined;
    for (const listener of this.listeners) {
      try {
        listener({ ...(before === undefined ? {} : { before }), after });
      } catch (error) {
        this.onTrouble(error);
      }
    }
  }
}
