/** What the connections of the hub share: room for bytes on their way into the log, and for bytes of frames that have not ended. */

/**
 * Frames and bytes on their way into the log over all connections. Who waits is served in the order of asking; one frame may always be on
 * its way, however large. With a bound on frames a hub that is slower than its senders makes them wait in their sockets, not in a queue
 * in which answers come too late.
 */
export class Budget {
  private used = 0;
  private frames = 0;
  private readonly waiting = new Set<() => void>();
  private asked: (() => void) | undefined;

  constructor(
    private readonly most: number,
    private readonly mostFrames = Infinity,
  ) {}

  /**
   * Room for one frame. False where it must wait: then `again` is called when it is its turn, and asks anew. The same function always stands for the same
   * connection, which keeps its place until it gets what it asked for.
   */
  take(bytes: number, again: () => void): boolean {
    this.asked = again;
    const [first] = this.waiting;
    const fits = this.frames === 0 || (this.used + bytes <= this.most && this.frames < this.mostFrames);
    if (!fits || (first !== undefined && first !== again)) {
      this.waiting.add(again);
      return false;
    }
    this.waiting.delete(again);
    this.used += bytes;
    this.frames += 1;
    return true;
  }

  giveBack(bytes: number): void {
    this.used -= bytes;
    this.frames -= 1;
    this.serve();
  }

  /** A connection that is gone holds up nobody. */
  leave(again: () => void): void {
    if (this.waiting.delete(again)) this.serve();
  }

  private serve(): void {
    for (;;) {
      const [first] = this.waiting;
      if (first === undefined) return;
      this.asked = undefined;
      first();
      const [stillFirst] = this.waiting;
      if (stillFirst !== first) continue;
      // It asked and does not fit yet; or it no longer wants anything, and loses its place.
      if (this.asked === first) return;
      this.waiting.delete(first);
    }
  }
}

/** A connection that holds less never has to wait for others. */
const SMALL_HOLDING_BYTES = 64 * 1024;

/** The one that may read while others wait gets at least so much in {@link TURN_MS}, or lets the next have its turn. */
const LEAST_PER_TURN_BYTES = 1024 * 1024;
const TURN_MS = 2_000;

export interface Holder {
  /** Its turn may have come. */
  advance(): void;
}

/**
 * Bytes held of frames that have not ended. Beyond the most, of the connections that hold much only one is read from at a time,
 * the first to hold much, so that one frame always gets done and the others follow. One that sends slowly loses its turn.
 */
export class Holdings {
  private held = 0;
  private readonly byHolder = new Map<Holder, number>();
  /** In the order of their turns. */
  private readonly large = new Set<Holder>();
  private turn: { readonly holder: Holder; readonly timer: NodeJS.Timeout } | undefined;

  constructor(
    private readonly most: number,
    private readonly turnMs = TURN_MS,
  ) {}

  /** Bytes held now. */
  get total(): number {
    return this.held;
  }

  set(holder: Holder, bytes: number): void {
    const before = this.byHolder.get(holder) ?? 0;
    if (bytes === before) return;
    this.held += bytes - before;
    if (bytes === 0) this.byHolder.delete(holder);
    else this.byHolder.set(holder, bytes);
    if (bytes > SMALL_HOLDING_BYTES) this.large.add(holder);
    else this.large.delete(holder);
    this.watchTurn();
    if (bytes < before) this.wake(holder);
  }

  mayRead(holder: Holder): boolean {
    if (this.held <= this.most || !this.large.has(holder)) return true;
    const [first] = this.large;
    return first === holder;
  }

  private watchTurn(): void {
    const [first] = this.large;
    const contended = this.held > this.most && this.large.size > 1;
    if (contended && this.turn?.holder === first) return;
    clearTimeout(this.turn?.timer);
    this.turn = undefined;
    if (!contended || first === undefined) return;
    const from = this.byHolder.get(first) ?? 0;
    const timer = setTimeout(() => {
      this.turn = undefined;
      const gained = (this.byHolder.get(first) ?? 0) - from;
      if (gained < LEAST_PER_TURN_BYTES && this.large.delete(first)) {
        this.large.add(first);
        this.wake();
      }
      this.watchTurn();
    }, this.turnMs).unref();
    this.turn = { holder: first, timer };
  }

  private wake(except?: Holder): void {
    for (const other of [...this.large]) if (other !== except) other.advance();
  }
}
