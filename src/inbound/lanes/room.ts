/**
 * The bound on what waits in memory, shared fairly: no source may hold all of it, so that there is room for the others at any time, and
 * where several wait for room they take turns. Within a source it is first come, first served.
 */

export interface RoomLimits {
  readonly messages: number;
  readonly bytes: number;
  /** Part of both that one source may hold, from 0 to 1. */
  readonly mostOfOne: number;
}

/** How often what waits for much room may be passed by what needs less. */
const MOST_PASSED = 1_000;

interface Visitor {
  readonly bytes: number;
  readonly enter: () => void;
}

class Guest {
  messages = 0;
  bytes = 0;
  bound = Infinity;
  /** How often others were let in before the first that waits. */
  passed = 0;
  readonly waiting: Visitor[] = [];
}

export class Room {
  private messages = 0;
  private bytes = 0;
  private readonly guests = new Map<string, Guest>();
  private readonly waiting = new Set<Guest>();

  constructor(private readonly limits: RoomLimits) {}

  /** Messages inside. */
  get size(): number {
    return this.messages;
  }

  /** Messages of a source inside and waiting. */
  held(id: string): number {
    const guest = this.guests.get(id);
    return guest === undefined ? 0 : guest.messages + guest.waiting.length;
  }

  /**
   * Resolves once there is room; undefined where there is already. What is larger than all that a source may hold is let in alone.
   * @param bound messages that the source itself allows
   */
  take(id: string, bytes: number, bound: number): Promise<void> | undefined {
    let guest = this.guests.get(id);
    if (guest === undefined) {
      guest = new Guest();
      this.guests.set(id, guest);
    }
    guest.bound = bound;
    if (guest.waiting.length === 0 && this.fits(guest, bytes)) {
      this.add(guest, bytes);
      return undefined;
    }
    const { waiting } = guest;
    this.waiting.add(guest);
    return new Promise((resolve) => waiting.push({ bytes, enter: resolve }));
  }

  release(id: string, bytes: number): void {
    const guest = this.guests.get(id);
    if (guest === undefined) return;
    this.messages -= 1;
    this.bytes -= bytes;
    guest.messages -= 1;
    guest.bytes -= bytes;
    while (this.letIn());
    if (guest.messages === 0 && guest.waiting.length === 0) this.guests.delete(id);
  }

  /** Lets one in, of the guest whose turn it is; false where nobody fits. */
  private letIn(): boolean {
    if (this.messages >= this.limits.messages) return false;
    for (const guest of this.waiting) {
      const [next] = guest.waiting;
      if (next === undefined || !this.fits(guest, next.bytes)) {
        // What is large is passed by what is small, but not for ever.
        guest.passed += 1;
        if (guest.passed > MOST_PASSED && this.wouldFitAlone(guest)) return false;
        continue;
      }
      guest.waiting.shift();
      guest.passed = 0;
      this.waiting.delete(guest);
      if (guest.waiting.length > 0) this.waiting.add(guest);
      this.add(guest, next.bytes);
      next.enter();
      return true;
    }
    return false;
  }

  /** Whether only the others keep it out. */
  private wouldFitAlone(guest: Guest): boolean {
    return guest.messages === 0;
  }

  private fits(guest: Guest, bytes: number): boolean {
    const { limits } = this;
    if (guest.messages >= guest.bound) return false;
    if (guest.messages > 0) {
      const share = limits.mostOfOne;
      if (guest.messages >= limits.messages * share || guest.bytes + bytes > limits.bytes * share) return false;
    }
    return this.messages === 0 || (this.messages < limits.messages && this.bytes + bytes <= limits.bytes);
  }

  private add(guest: Guest, bytes: number): void {
    this.messages += 1;
    this.bytes += bytes;
    guest.messages += 1;
    guest.bytes += bytes;
  }
}
