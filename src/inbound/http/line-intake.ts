/** Bodies of many messages, one per line: taken as they stream in, answered line by line, in order. */
import type { Request, Response } from 'express';
import type { IntakeOutcome } from '../received.js';
import { BatchAnswer, type LineAnswer } from './batch-answer.js';
import { bodyProblem, bodyStream, linesOf, refuseDeclaredSize } from './body.js';
import { HttpProblem, PROBLEMS, problemOf, type Problem } from './problem.js';
import { receiptOf } from './receipt.js';

/** Lines of one body that are on their way into the log at a time. */
const LINES_IN_FLIGHT = 2_000;

export interface LineIntake {
  /** Largest body. */
  readonly bodyBytes: number;
  /** Largest line. */
  readonly lineBytes: number;
  /** What a line over that is answered with. */
  readonly lineTooLarge: Problem;
  /** Called in the order of the lines. */
  readonly accept: (line: Buffer) => Promise<IntakeOutcome>;
}

/**
 * Receipts as NDJSON, or as a JSON array where `Accept` prefers `application/json`. While nothing has been answered yet, a log that is
 * away is a problem of the whole; later it is a line with the status `refused`.
 * @throws HttpProblem
 */
export async function answerLines(request: Request, response: Response, intake: LineIntake): Promise<void> {
  refuseDeclaredSize(request, intake.bodyBytes);
  const form =
    request.accepts(['application/x-ndjson', 'application/json']) === 'application/json' ? 'array' : 'ndjson';
  const answer = new BatchAnswer(response, form);
  const waiting: Promise<LineAnswer>[] = [];
  let ending: Problem | undefined;
  let line = 0;
  let total = 0;
  const stream = bodyStream(request).iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  try {
    for await (const next of linesOf(stream, intake.lineBytes)) {
      line += 1;
      total += next.bytes?.length ?? 0;
      if (total > intake.bodyBytes) throw new HttpProblem(PROBLEMS.bodyTooLarge);
      waiting.push(
        next.tooLarge === true
          ? Promise.resolve(refused(line, intake.lineTooLarge))
          : acceptLine(intake.accept, next.bytes, line),
      );
      if (waiting.length >= LINES_IN_FLIGHT) await answer.write(await (waiting.shift() as Promise<LineAnswer>));
    }
  } catch (error) {
    ending = bodyProblem(error, request).problem;
  }
  for (const one of waiting) await answer.write(await one);
  if (ending !== undefined) await answer.write(refused(line + 1, ending), ending);
  answer.end();
}

async function acceptLine(accept: LineIntake['accept'], bytes: Buffer, line: number): Promise<LineAnswer> {
  try {
    return { line, ...receiptOf(await accept(bytes)) };
  } catch (error) {
    return refused(line, problemOf(error));
  }
}

function refused(line: number, problem: Problem): LineAnswer {
  return { line, status: 'refused', code: problem.code };
}
