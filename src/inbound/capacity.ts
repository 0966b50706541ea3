/** A bound on what waits in memory: first come, first served. */
export class Capacity {
  private messages = 0;
  private bytes = 0;
  private readonly waiting: { readonly bytes: number; readonly enter: () => void }[] = [];

  constructor(
    private readonly mostMessages: number,
    private readonly mostBytes: number,
  ) {}

  /** Resolves once there is room. Something larger than the whole is let in alone. */
  take(bytes: number): Promise<void> | undefined {
    if (this.waiting.length === 0 && this.fits(bytes)) {
      this.add(bytes);
      return undefined;
    }
    return new Promise((resolve) => this.waiting.push({ bytes, enter: resolve }));
  }

  release(bytes: number): void {
    this.messages -= 1;
    this.bytes -= bytes;
    for (;;) {
      const next = this.waiting[0];
      if (next === undefined || !this.fits(next.bytes)) return;
      this.waiting.shift();
      this.add(next.bytes);
      next.enter();
    }
  }

  /** Messages inside. */
  get size(): number {
    return this.messages;
  }

  private fits(bytes: number): boolean {
    return this.messages === 0 || (this.messages < this.mostMessages && this.bytes + bytes <= this.mostBytes);
  }

  private add(bytes: number): void {
    this.messages += 1;
    this.bytes += bytes;
  }
}
