import { Controller, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { exchangeHl7 } from '../hl7/exchange.js';
import { HL7_CONTENT_TYPE } from '../message-types.js';
import type { IntakeOutcome } from '../received.js';
import type { LineAnswer } from './batch-answer.js';
import { readBody } from './body.js';
import { PROBLEMS, problemOf, sendProblem } from './problem.js';
import { receiptOf } from './receipt.js';
import { HTTP_INBOUND, httpIntake, receivedFrom, sourceOf, type HttpInbound } from './request-source.js';

/**
 * HL7-over-HTTP: ER7 in, the HL7 acknowledgement out; AE and AR still are HTTP 200. A client that accepts `application/x-ndjson` only
 * gets receipts instead, one per message.
 */
@Controller('hl7')
export class Hl7Controller {
  constructor(
    @Inject(CommandBus) private readonly bus: CommandBus,
    @Inject(HTTP_INBOUND) private readonly inbound: HttpInbound,
  ) {}

  @Post()
  async receive(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound);
      const { bodyBytes, bodyRoom, bodyTimes } = this.inbound;
      const bytes = await readBody(request, bodyBytes, bodyRoom, PROBLEMS.bodyTooLarge, bodyTimes);
      const received = receivedFrom(request, source, HL7_CONTENT_TYPE, bytes);
      const { answer, outcomes, failures } = await exchangeHl7(httpIntake(this.bus, this.inbound), {
        ...received,
        reader: 'hl7v2',
      });
      // Of a batch some may be stored: then the answer says of each what became of it.
      if (outcomes.every((outcome) => outcome === undefined)) throw failures[0];
      if (wantsReceipts(request)) {
        const lines = outcomes.map((outcome, index) => `${JSON.stringify(lineOf(index + 1, outcome))}\n`);
        response.status(202).type('application/x-ndjson').send(lines.join(''));
      } else if (answer === undefined) response.status(204).end();
      else response.status(200).setHeader('Content-Type', HL7_CONTENT_TYPE).end(answer);
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }
}

function wantsReceipts(request: Request): boolean {
  return request.accepts([HL7_CONTENT_TYPE, 'text/plain', 'application/x-ndjson']) === 'application/x-ndjson';
}

function lineOf(line: number, outcome: IntakeOutcome | undefined): LineAnswer {
  if (outcome === undefined) return { line, status: 'refused', code: PROBLEMS.logUnavailable.code };
  return { line, ...receiptOf(outcome) };
}
