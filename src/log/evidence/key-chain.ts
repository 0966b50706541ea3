/**
 * Which key signs which heads. The last head of a key announces the key that follows it, and the first head of that one names the key before it: so a
 * check that begins with one public key follows the others by the heads alone. Forwards a key is trusted because the one before it announced it,
 * backwards because the one behind it names it; nothing that any other key says counts.
 */
import type { KeyObject } from 'node:crypto';
import type { HeadStore } from './head-store.js';
import {
  BadHeadError,
  keyIdOf,
  openHead,
  publicKeyOfText,
  publicKeyText,
  type SignedHead,
  type TreeHead,
} from './tree-head.js';

/** A key and the heads that it signs. */
export interface KeyPeriod {
  readonly id: string;
  readonly key: KeyObject;
  /** Number of its first head. */
  readonly from: number;
}

export class KeyChain {
  private constructor(private readonly list: KeyPeriod[]) {}

  /**
   * The chain that a key is in, as far back as the heads name keys before it. It grows forwards with the heads that are opened, in their order.
   * @throws HeadStoreError, BadHeadError for a key of another kind
   */
  static async of(heads: Pick<HeadStore, 'read'>, given: KeyObject): Promise<KeyChain> {
    const links = new Map<string, SignedHead[]>();
    for await (const { signed } of heads.read()) {
      if (signed.head.includes('\nprevious-key ')) links.set(signed.key, [...(links.get(signed.key) ?? []), signed]);
    }
    const list: KeyPeriod[] = [];
    for (let key: KeyObject | undefined = given; key !== undefined;) {
      const id = keyIdOf(key);
      const first = firstOf(links.get(id) ?? [], key);
      list.unshift({ id, key, from: first?.from ?? 1 });
      links.delete(id);
      key = first?.previous;
    }
    return new KeyChain(list);
  }

  /** The chain with all that the heads say of it; a head that does not hold adds nothing. @throws HeadStoreError */
  static async whole(heads: Pick<HeadStore, 'read'>, given: KeyObject): Promise<KeyChain> {
    const chain = await KeyChain.of(heads, given);
    for await (const { signed } of heads.read()) {
      try {
        chain.open(signed);
      } catch (error) {
        if (!(error instanceof BadHeadError)) throw error;
      }
    }
    return chain;
  }

  /** Keys in the order in which they signed. */
  get periods(): readonly KeyPeriod[] {
    return this.list;
  }

  /**
   * Checks that the head is signed, by the key that signs heads of its number.
   * @throws BadHeadError
   */
  open(signed: SignedHead): TreeHead {
    if (signed.signature === '') throw new BadHeadError('HEAD_MALFORMED', 'not a signed tree head');
    const index = this.list.findIndex(({ id }) => id === signed.key);
    const period = this.list[index];
    if (period === undefined) {
      throw new BadHeadError('HEAD_KEY', `a head is signed by key ${signed.key}, which no earlier head announced`);
    }
    const head = openHead(signed, period.key);
    const [before, behind] = [this.list[index - 1], this.list[index + 1]];
    if (head.sequence < period.from || (behind !== undefined && head.sequence >= behind.from)) {
      throw new BadHeadError('HEAD_KEY', `head ${head.sequence} is signed by key ${signed.key}, whose turn it was not`);
    }
    const previous = before !== undefined && head.sequence === period.from ? publicKeyText(before.key) : undefined;
    if (head.previousKey !== previous) {
      throw new BadHeadError('HEAD_KEY', `head ${head.sequence} does not name the key that signed before it`);
    }
    if (behind === undefined) {
      if (head.nextKey !== undefined) this.goOn(head.sequence + 1, publicKeyOfText(head.nextKey));
    } else if (head.nextKey !== (head.sequence === behind.from - 1 ? publicKeyText(behind.key) : undefined)) {
      throw new BadHeadError('HEAD_KEY', `head ${head.sequence} does not announce the key that followed it`);
    }
    return head;
  }

  private goOn(from: number, key: KeyObject): void {
    const id = keyIdOf(key);
    if (this.list.some((period) => period.id === id)) {
      throw new BadHeadError('HEAD_KEY', `head ${from - 1} announces key ${id}, which has signed before`);
    }
    this.list.push({ id, key, from });
  }
}

/** Of the heads that say what key was there before theirs, the first that its key signed. */
function firstOf(
  heads: readonly SignedHead[],
  key: KeyObject,
): { readonly from: number; readonly previous: KeyObject } | undefined {
  for (const signed of heads) {
    try {
      const { sequence, previousKey } = openHead(signed, key);
      if (previousKey !== undefined) return { from: sequence, previous: publicKeyOfText(previousKey) };
    } catch (error) {
      // One that does not hold is found when all heads are opened.
      if (!(error instanceof BadHeadError)) throw error;
    }
  }
  return undefined;
}
