/** Messages between their reading and their rows in the register: another of the same key, or one whose condition asks for what they bring, must know of them. */
import type { IntakeOutcome } from '../received.js';
import type { Reading } from './messages.js';

export interface InFlight {
  readonly eventId: string;
  readonly duplicateKey: string;
  /** What it brings that the conditions of others could ask for. */
  readonly brings: readonly string[];
  /** Resolves when it is not on its way any more. */
  readonly gone: Promise<void>;
  readonly leave: () => void;
  readonly outcome: Promise<IntakeOutcome>;
  /** Its sender knows the outcome: what names it by its version finds it in the register. */
  answered: boolean;
}

export function wayOf(eventId: string, duplicateKey: string, brings: readonly string[]): Omit<InFlight, 'outcome'> {
  const { promise: gone, resolve: leave } = Promise.withResolvers<undefined>();
  return { eventId, duplicateKey, brings, gone, leave: () => leave(undefined), answered: false };
}

export class OnTheWay {
  private readonly byKey = new Map<string, readonly InFlight[]>();
  /** By what they bring. */
  private readonly brought = new Map<string, Set<InFlight>>();
  private waiting = 0;

  /** @param hurry told that somebody waits for the register */
  constructor(private readonly hurry: () => void) {}

  /** Whether somebody waits for the register to tell of what is on its way. */
  get isAwaited(): boolean {
    return this.waiting > 0;
  }

  /** Under a duplicate key, in the order of arrival. */
  under(key: string): readonly InFlight[] {
    return this.byKey.get(key) ?? NONE;
  }

  add(message: InFlight): void {
    for (const name of message.brings) {
      const others = this.brought.get(name);
      if (others === undefined) this.brought.set(name, new Set([message]));
      else others.add(message);
    }
    const { duplicateKey: key } = message;
    this.byKey.set(key, [...this.under(key), message]);
  }

  remove(message: InFlight): void {
    for (const name of message.brings) {
      const bringing = this.brought.get(name);
      bringing?.delete(message);
      if (bringing?.size === 0) this.brought.delete(name);
    }
    const { duplicateKey: key } = message;
    const others = this.under(key).filter((one) => one !== message);
    if (others.length === 0) this.byKey.delete(key);
    else this.byKey.set(key, others);
    message.leave();
  }

  /**
   * Resolves when the register tells of these all that it must. What a condition asks for may be on its way: two that ask for the same must not
   * both bring it. And a version that its sender knows of may be asked for by its position.
   */
  async passed(readings: readonly Pick<Reading, 'asks' | 'duplicateKey' | 'versioned'>[]): Promise<void> {
    const awaited: Promise<void>[] = [];
    for (const { asks, duplicateKey: key, versioned } of readings) {
      for (const name of asks) {
        for (const other of this.brought.get(name) ?? []) if (other.duplicateKey !== key) awaited.push(other.gone);
      }
      if (versioned) for (const other of this.under(key)) if (other.answered) awaited.push(other.gone);
    }
    if (awaited.length === 0) return;
    this.waiting += 1;
    this.hurry();
    await Promise.all(awaited);
    this.waiting -= 1;
  }
}

const NONE: readonly InFlight[] = [];
