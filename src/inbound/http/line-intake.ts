/** Bodies of many messages, one per line: taken as they stream in, answered line by line, in order, while the rest still comes. */
import type { Request, Response } from 'express';
import type { Capacity } from '../capacity.js';
import type { IntakeOutcome } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { BatchAnswer, type LineAnswer } from './batch-answer.js';
import { BODY_TIMES, bodyProblem, bodyStream, chunksOf, linesOf } from './body.js';
import { PROBLEMS, problemOf, type Problem } from './problem.js';
import { receiptOf } from './receipt.js';

/** Lines of one body that are on their way into the log, or whose receipts were not taken yet, at a time. */
const LINES_IN_FLIGHT = 2_000;

export interface LineIntake {
  /** Largest line. */
  readonly lineBytes: number;
  /** What a line over that is answered with. */
  readonly lineTooLarge: Problem;
  /** Room for the lines of all bodies that are on their way into the log. */
  readonly room: Capacity;
  readonly idleMs?: number;
  /** As it was when the request was let in. */
  readonly source: SourceConfiguration;
  /** The source when a line may come in; asked before it is taken, but for the first, which the request itself was let in with. */
  readonly next: (stopped: () => boolean) => Promise<SourceConfiguration>;
  /** Called in the order of the lines, which count from 1. */
  readonly accept: (line: Buffer, number: number, source: SourceConfiguration) => Promise<IntakeOutcome>;
}

/**
 * Receipts as NDJSON, or as a JSON array where `Accept` prefers `application/json`; each is written as soon as its line and those before
 * it are known. A body may be of any length: what is held is bounded. While nothing has been answered yet, a log that is away is a problem
 * of the whole; later it is a line with the status `refused`, and the body is not read any further, so that what is sent again comes
 * behind nothing newer. A client that goes away in the middle keeps what it has receipts for, and more.
 * @throws HttpProblem
 */
export async function answerLines(request: Request, response: Response, intake: LineIntake): Promise<void> {
  const form =
    request.accepts(['application/x-ndjson', 'application/json']) === 'application/json' ? 'array' : 'ndjson';
  const answers = new Answers(new BatchAnswer(response, form));
  let line = 0;
  let { source } = intake;
  let ending: Problem | undefined;
  try {
    const chunks = chunksOf(bodyStream(request), intake.idleMs ?? BODY_TIMES.idleMs, answers.stop);
    for await (const next of linesOf(chunks, intake.lineBytes)) {
      if (answers.stopped) break;
      line += 1;
      const number = line;
      const { bytes } = next;
      if (number > 1) source = await intake.next(() => answers.stopped);
      if (answers.stopped) break;
      if (bytes !== undefined) await intake.room.take(bytes.length);
      const answer =
        bytes === undefined
          ? Promise.resolve(refused(number, intake.lineTooLarge))
          : acceptLine(intake, bytes, number, source).finally(() => intake.room.release(bytes.length));
      await answers.add(answer);
    }
  } catch (error) {
    if (!answers.stopped) ending = bodyProblem(error, request).problem;
  }
  await answers.end(ending === undefined ? undefined : { line: line + 1, problem: ending });
}

async function acceptLine(
  intake: LineIntake,
  bytes: Buffer,
  line: number,
  source: SourceConfiguration,
): Promise<LineAnswer> {
  try {
    return { line, ...receiptOf(await intake.accept(bytes, line, source)) };
  } catch (error) {
    return refused(line, problemOf(error));
  }
}

/** Writes answers in their order beside the reading of the body, and bounds how many wait. */
class Answers {
  private readonly waiting: Promise<LineAnswer>[] = [];
  private writing: Promise<void> | undefined;
  private moved = Promise.withResolvers<void>();
  private failure: unknown;
  private failed = false;
  private logAway = false;
  private readonly stopping = new AbortController();

  constructor(private readonly answer: BatchAnswer) {}

  /** Told when nothing more is to be taken. */
  get stop(): AbortSignal {
    return this.stopping.signal;
  }

  /** Nothing more is to be taken: the log went away, or nobody listens. */
  get stopped(): boolean {
    return this.logAway || this.failed || this.answer.gone;
  }

  /** Resolves once there is room for another. */
  async add(answer: Promise<LineAnswer>): Promise<void> {
    this.waiting.push(answer);
    if (!this.failed && this.writing === undefined) this.writing = this.writeAll();
    while (this.waiting.length >= LINES_IN_FLIGHT && !this.failed) await this.moved.promise;
  }

  /** Writes the rest. @throws HttpProblem where nothing was written yet and the whole is a problem */
  async end(ending: { readonly line: number; readonly problem: Problem } | undefined): Promise<void> {
    await this.writing;
    if (this.failed) throw this.failure;
    if (ending !== undefined) await this.answer.write(refused(ending.line, ending.problem), ending.problem);
    this.answer.end();
  }

  private async writeAll(): Promise<void> {
    try {
      for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
        const answer = await next;
        if ('code' in answer && answer.code === PROBLEMS.logUnavailable.code) this.logAway = true;
        await this.answer.write(answer);
        void this.waiting.shift();
        if (this.stopped) this.stopping.abort();
        this.tell();
      }
    } catch (error) {
      this.failed = true;
      this.failure = error;
      this.stopping.abort();
    } finally {
      this.writing = undefined;
      this.tell();
    }
  }

  private tell(): void {
    this.moved.resolve();
    this.moved = Promise.withResolvers<void>();
  }
}

function refused(line: number, problem: Problem): LineAnswer {
  return { line, status: 'refused', code: problem.code };
}
