import { Controller, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { intakeOver } from '../accept-message.js';
import { EVENT_CONTENT_TYPE } from '../message-types.js';
import type { SourceConfiguration } from '../source.js';
import { BatchAnswer, type LineAnswer } from './batch-answer.js';
import { bodyProblem, bodyStream, linesOf, readBody, refuseDeclaredSize } from './body.js';
import { HttpProblem, PROBLEMS, problemOf, sendProblem, type Problem } from './problem.js';
import { parkedProblem, receiptOf } from './receipt.js';
import { HTTP_INBOUND, receivedFrom, sourceOf, type HttpInbound } from './request-source.js';

/** Lines of one batch that are on their way into the log at a time. */
const LINES_IN_FLIGHT = 2_000;

/** Clinical events as JSON (API.md §3), one by one and as NDJSON. */
@Controller('events')
export class EventsController {
  constructor(
    @Inject(CommandBus) private readonly bus: CommandBus,
    @Inject(HTTP_INBOUND) private readonly inbound: HttpInbound,
  ) {}

  @Post()
  async receive(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound.sources);
      const bytes = await readBody(request, this.inbound.eventBytes, PROBLEMS.eventTooLarge);
      const outcome = await this.accept(request, source, bytes);
      const problem = parkedProblem(outcome);
      if (problem !== undefined) sendProblem(response, problem);
      else response.status(202).json(receiptOf(outcome));
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  /**
   * A line is an event; each gets a receipt, in order, as NDJSON, or as a JSON array where `Accept` prefers `application/json`.
   * While nothing has been answered yet, a log that is away is a 503 for the whole; later it is a line with the status `refused`.
   */
  @Post('batch')
  async receiveBatch(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound.sources);
      refuseDeclaredSize(request, this.inbound.bodyBytes);
      const form =
        request.accepts(['application/x-ndjson', 'application/json']) === 'application/json' ? 'array' : 'ndjson';
      await this.answerLines(request, source, new BatchAnswer(response, form));
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  private async answerLines(request: Request, source: SourceConfiguration, answer: BatchAnswer): Promise<void> {
    const waiting: Promise<LineAnswer>[] = [];
    let ending: Problem | undefined;
    let line = 0;
    let total = 0;
    const stream = bodyStream(request).iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    const lines = linesOf(stream, this.inbound.eventBytes);
    try {
      for await (const next of lines) {
        line += 1;
        total += next.bytes?.length ?? 0;
        if (total > this.inbound.bodyBytes) throw new HttpProblem(PROBLEMS.bodyTooLarge);
        waiting.push(
          next.tooLarge === true
            ? Promise.resolve(refused(line, PROBLEMS.eventTooLarge))
            : this.acceptLine(request, source, next.bytes, line),
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

  private accept(request: Request, source: SourceConfiguration, bytes: Buffer) {
    return intakeOver(this.bus).receive({
      ...receivedFrom(request, source, EVENT_CONTENT_TYPE, bytes),
      reader: 'event',
    });
  }

  private async acceptLine(
    request: Request,
    source: SourceConfiguration,
    bytes: Buffer,
    line: number,
  ): Promise<LineAnswer> {
    try {
      return { line, ...receiptOf(await this.accept(request, source, bytes)) };
    } catch (error) {
      return refused(line, problemOf(error));
    }
  }
}

function refused(line: number, problem: Problem): LineAnswer {
  return { line, status: 'refused', code: problem.code };
}
