/** The answer to a batch of events: one receipt per line, written as they come, so that neither side holds the whole. */
import type { Response } from 'express';
import { once } from 'node:events';
import { HttpProblem, PROBLEMS, type Problem } from './problem.js';
import type { Receipt } from './receipt.js';

/** A line's receipt, or why it was not stored. Lines count from 1; blank ones do not count. */
export type LineAnswer = (Receipt | { readonly status: 'refused'; readonly code: string }) & { readonly line: number };

/** A client that takes none of its receipts for this long is given up. */
const UNREAD_TIMEOUT_MS = 120_000;

export class BatchAnswer {
  private lines = 0;

  constructor(
    private readonly response: Response,
    private readonly form: 'ndjson' | 'array',
  ) {}

  /**
   * Writes one line and waits while the client does not read. Until the first line is written the whole may still be a problem.
   * @param instead what the whole request is answered with where this would be its first line
   * @throws HttpProblem
   */
  async write(answer: LineAnswer, instead?: Problem): Promise<void> {
    if (this.lines === 0) {
      if (instead !== undefined) throw new HttpProblem(instead);
      if ('code' in answer && answer.code === PROBLEMS.logUnavailable.code)
        throw new HttpProblem(PROBLEMS.logUnavailable);
      this.begin();
    }
    if (this.gone) return;
    const text = JSON.stringify(answer);
    const written = this.response.write(
      this.form === 'ndjson' ? `${text}\n` : `${this.lines === 0 ? '' : ',\n'}${text}`,
    );
    this.lines += 1;
    if (!written && !this.gone) await this.drained();
  }

  /** Nobody reads any more. */
  get gone(): boolean {
    return this.response.destroyed || this.response.closed;
  }

  end(): void {
    if (this.lines === 0) this.begin();
    this.response.end(this.form === 'array' ? ']\n' : undefined);
  }

  private async drained(): Promise<void> {
    const done = new AbortController();
    const late = setTimeout(() => this.response.destroy(), UNREAD_TIMEOUT_MS);
    try {
      const { signal } = done;
      await Promise.race([once(this.response, 'drain', { signal }), once(this.response, 'close', { signal })]);
    } finally {
      clearTimeout(late);
      done.abort();
    }
  }

  private begin(): void {
    this.response.status(202).type(this.form === 'array' ? 'application/json' : 'application/x-ndjson');
    if (this.form === 'array') this.response.write('[');
  }
}
