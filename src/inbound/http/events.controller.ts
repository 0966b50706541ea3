import { Controller, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { EVENT_CONTENT_TYPE } from '../message-types.js';
import type { IntakeOutcome } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { readBody } from './body.js';
import { answerLines } from './line-intake.js';
import { PROBLEMS, problemOf, sendProblem } from './problem.js';
import { parkedProblem, receiptOf, sendReceipt } from './receipt.js';
import {
  HTTP_INBOUND,
  httpIntake,
  idempotencyKeyOf,
  nextOf,
  receivedFrom,
  sourceOf,
  type HttpInbound,
} from './request-source.js';

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
      const source = sourceOf(request, this.inbound);
      const { eventBytes, bodyRoom, bodyTimes } = this.inbound;
      const bytes = await readBody(request, eventBytes, bodyRoom, PROBLEMS.eventTooLarge, bodyTimes);
      const outcome = await this.accept(request, source, bytes);
      const problem = parkedProblem(outcome);
      if (problem !== undefined) sendProblem(response, problem);
      else sendReceipt(response, receiptOf(outcome));
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  /** A line is an event. */
  @Post('batch')
  async receiveBatch(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound);
      idempotencyKeyOf(request);
      await answerLines(request, response, {
        lineBytes: this.inbound.eventBytes,
        lineTooLarge: PROBLEMS.eventTooLarge,
        room: this.inbound.lineRoom,
        idleMs: this.inbound.bodyTimes.idleMs,
        source,
        next: (stopped) => nextOf(this.inbound, source.id, stopped),
        accept: (line, number, current) => this.accept(request, current, line, number),
      });
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  private accept(request: Request, source: SourceConfiguration, bytes: Buffer, line?: number): Promise<IntakeOutcome> {
    return httpIntake(this.bus, this.inbound).receive({
      ...receivedFrom(request, source, EVENT_CONTENT_TYPE, bytes, line),
      reader: 'event',
    });
  }
}
