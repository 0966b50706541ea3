/**
 * Noise for counts: the two-sided geometric (discrete Laplace) mechanism, exact, without floating point (Ghosh, Roughgarden and Sundararajan 2009; sampled
 * as Canonne, Kamath and Steinke, The Discrete Gaussian for Differential Privacy, 2020, algorithms 1 and 2). Its random bits come from a cipher
 * under a key that is derived from the hub's pepper, the basis, the question and the cell: whoever has not the pepper cannot tell them from chance, and the same
 * question of the same basis has the same noise whoever asks, however often, so that asking again averages nothing away.
 */
import { createCipheriv } from 'node:crypto';

const BLOCK_BYTES = 256;
const TWO_32 = 0x1_0000_0000;
/** Epsilon is counted in these. */
export const THOUSANDTHS = 1_000;
/** How likely at most it is to show that a combination has anybody at all. */
const DELTA = 1e-6;

/** Uniform numbers without end, from a key of 32 bytes. */
class Randomness {
  private readonly cipher;
  private block = Buffer.alloc(0);
  private at = 0;

  constructor(key: Buffer) {
    this.cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  }

  /** 0 … below − 1, each as likely as the other. @param below at most 2^32 */
  integer(below: number): number {
    // What does not divide evenly is drawn again.
    const most = TWO_32 - (TWO_32 % below);
    for (;;) {
      const drawn = this.word();
      if (drawn < most) return drawn % below;
    }
  }

  private word(): number {
    if (this.at === this.block.length) {
      this.block = this.cipher.update(Buffer.alloc(BLOCK_BYTES));
      this.at = 0;
    }
    this.at += 4;
    return this.block.readUInt32BE(this.at - 4);
  }
}

/** True with probability e^(−numerator/denominator). @param numerator at most the denominator */
function decays(random: Randomness, numerator: number, denominator: number): boolean {
  let factor = 1;
  while (random.integer(denominator * factor) < numerator) factor += 1;
  return factor % 2 === 1;
}

/**
 * A whole number n with probability proportional to e^(−epsilon·|n|).
 * @param key 32 bytes, of this number alone
 * @param epsilon in thousandths, at least 1
 */
export function discreteLaplace(key: Buffer, epsilon: number): number {
  const random = new Randomness(key);
  for (;;) {
    const rest = random.integer(THOUSANDTHS);
    if (!decays(random, rest, THOUSANDTHS)) continue;
    let whole = 0;
    while (decays(random, 1, 1)) whole += 1;
    const size = Math.floor((rest + THOUSANDTHS * whole) / epsilon);
    const negative = random.integer(2) === 1;
    if (negative && size === 0) continue;
    return negative ? -size : size;
  }
}

/**
 * The least count that is listed: a combination that one person alone has reaches it with a probability of at most {@link DELTA}, so that the list of
 * combinations tells of nobody (Korolova et al. 2009); and nothing under `fewest` is.
 * @param epsilon in thousandths
 */
export function listedFrom(epsilon: number, fewest: number): number {
  const rate = epsilon / THOUSANDTHS;
  return Math.max(fewest, 1 + Math.ceil(Math.log(1 / (DELTA * (1 + Math.exp(-rate)))) / rate));
}
