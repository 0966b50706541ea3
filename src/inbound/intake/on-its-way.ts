/** Messages between their reading and their rows in the register: another of the same key, or one whose condition asks for what they bring, must know of them. */
import type { IntakeOutcome } from '../received.js';
import type { Reading } from './messages.js';

interface Follower {
  readonly resolve: (outcome: IntakeOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** One message on its way. Most of them nobody waits for, so it holds no promise. */
export class InFlight {
  /** Its sender knows the outcome: what names it by its version finds it in the register. */
  answered = false;
  private outcome: IntakeOutcome | Error | undefined;
  private hasLeft = false;
  private followers: Follower[] | undefined;
  private waiting: (() => void)[] | undefined;

  /** @param brings what the conditions of others could ask for */
  constructor(
    readonly eventId: string,
    readonly duplicateKey: string,
    readonly brings: readonly string[],
  ) {}

  /** The same message sent again gets the outcome of this one. */
  follow(follower: Follower): void {
    if (this.outcome === undefined) (this.followers ??= []).push(follower);
    else tell(follower, this.outcome);
  }

  /** It is in the log, or nobody can say whether it is. Only the first counts. */
  settle(outcome: IntakeOutcome | Error): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.answered = !(outcome instanceof Error);
    for (const follower of this.followers ?? []) tell(follower, outcome);
    this.followers = undefined;
  }

  /** It is not on its way any more. */
  leave(): void {
    this.hasLeft = true;
    for (const wake of this.waiting ?? []) wake();
    this.waiting = undefined;
  }

  /** Resolves when it is not on its way any more. */
  gone(): Promise<void> {
    if (this.hasLeft) return Promise.resolve();
    return new Promise((resolve) => (this.waiting ??= []).push(resolve));
  }
}

function tell(follower: Follower, outcome: IntakeOutcome | Error): void {
  if (outcome instanceof Error) follower.reject(outcome);
  else follower.resolve(outcome);
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
    const others = this.byKey.get(key);
    this.byKey.set(key, others === undefined ? [message] : [...others, message]);
  }

  remove(message: InFlight): void {
    for (const name of message.brings) {
      const bringing = this.brought.get(name);
      bringing?.delete(message);
      if (bringing?.size === 0) this.brought.delete(name);
    }
    const { duplicateKey: key } = message;
    const others = this.under(key);
    if (others.length > 1)
      this.byKey.set(
        key,
        others.filter((one) => one !== message),
      );
    else if (others[0] === message) this.byKey.delete(key);
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
        for (const other of this.brought.get(name) ?? []) if (other.duplicateKey !== key) awaited.push(other.gone());
      }
      if (versioned) for (const other of this.under(key)) if (other.answered) awaited.push(other.gone());
    }
    if (awaited.length === 0) return;
    this.waiting += 1;
    this.hurry();
    await Promise.all(awaited);
    this.waiting -= 1;
  }
}

const NONE: readonly InFlight[] = [];
