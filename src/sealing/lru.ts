/** A map of bounded size that forgets what was not used for longest. */
export class LruMap<K, V> {
  private readonly entries = new Map<K, V>();

  /**
   * @param limit most entries
   * @param onForget called for every entry that leaves, whether it grew old or was deleted
   */
  constructor(
    private readonly limit: number,
    private readonly onForget?: (key: K, value: V) => void,
  ) {}

  get size(): number {
    return this.entries.size;
  }

  get(key: K): V | undefined {
    const value = this.entries.get(key);
    if (value === undefined) return undefined;
    this.entries.delete(key);
    this.entries.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    this.entries.delete(key);
    this.entries.set(key, value);
    if (this.entries.size <= this.limit) return;
    const [oldest] = this.entries.keys();
    this.delete(oldest as K);
  }

  delete(key: K): void {
    const value = this.entries.get(key);
    if (value === undefined) return;
    this.entries.delete(key);
    this.onForget?.(key, value);
  }
}
