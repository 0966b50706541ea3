import { Controller, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { intakeOver } from '../accept-message.js';
import { EVENT_CONTENT_TYPE } from '../message-types.js';
import type { IntakeOutcome } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { readBody } from './body.js';
import { answerLines } from './line-intake.js';
import { PROBLEMS, problemOf, sendProblem } from './problem.js';
import { parkedProblem, receiptOf } from './receipt.js';
import { HTTP_INBOUND, receivedFrom, sourceOf, type HttpInbound } from './request-source.js';

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
      const bytes = await readBody(request, this.inbound.eventBytes, this.inbound.bodyRoom, PROBLEMS.eventTooLarge);
      const outcome = await this.accept(request, source, bytes);
      const problem = parkedProblem(outcome);
      if (problem !== undefined) sendProblem(response, problem);
      else response.status(202).json(receiptOf(outcome));
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  /** A line is an event. */
  @Post('batch')
  async receiveBatch(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound.sources);
      await answerLines(request, response, {
        bodyBytes: this.inbound.bodyBytes,
        lineBytes: this.inbound.eventBytes,
        lineTooLarge: PROBLEMS.eventTooLarge,
        accept: (line) => this.accept(request, source, line),
      });
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  private accept(request: Request, source: SourceConfiguration, bytes: Buffer): Promise<IntakeOutcome> {
    return intakeOver(this.bus).receive({
      ...receivedFrom(request, source, EVENT_CONTENT_TYPE, bytes),
      reader: 'event',
    });
  }
}
