/** Results of pure functions kept by what they were made from, in bounded memory: names, codes and times come again and again. */
export class Remembered<V> {
  /** What was asked for lately, and what was before that. */
  private young = new Map<string, V>();
  private old = new Map<string, V>();

  /** @param most so many results are kept at least, twice as many at most */
  constructor(private readonly most: number) {}

  /** @param make pure, of the key alone; nobody may change what it gives, since others get the same */
  get(key: string, make: () => V): V {
    const known = this.young.get(key);
    if (known !== undefined) return known;
    const value = this.old.get(key) ?? make();
    if (this.young.size >= this.most) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(key, value);
    return value;
  }
}
