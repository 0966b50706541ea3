/** Random numbers that are the same for the same seed, on every machine. */

/** xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32 over any number of seeds. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** Different lists of seeds give independent numbers: one generator per person, whatever the order they come in. */
  constructor(...seeds: readonly number[]) {
    let state = 0x9e3779b9;
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) | 0;
    };
    for (const seed of seeds) {
      state ^= seed | 0;
      state = next() ^ Math.floor(seed / 2 ** 32);
    }
    [this.a, this.b, this.c, this.d] = [next(), next(), next(), next()];
  }

  /** 0 ≤ x < 1, of 32 random bits. */
  fraction(): number {
    const product = Math.imul(this.b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result / 2 ** 32;
  }

  /** A whole number, least ≤ x ≤ most. */
  between(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.fraction() * list.length)] as T;
  }

  /** Picks by weight. */
  weighted<T>(list: readonly (readonly [weight: number, value: T])[]): T {
    let sum = 0;
    for (const [weight] of list) sum += weight;
    let rest = this.fraction() * sum;
    for (const [weight, value] of list) {
      rest -= weight;
      if (rest < 0) return value;
    }
    return (list.at(-1) as readonly [number, T])[1];
  }

  digits(count: number): string {
    let text = '';
    for (let index = 0; index < count; index += 1) text += this.between(0, 9);
    return text;
  }
}
