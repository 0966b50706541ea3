import { Controller, Inject, Post, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { EVENT_CONTENT_TYPE, FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE, mediaType } from '../message-types.js';
import type { IntakeOutcome, ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { readBody } from './body.js';
import { answerLines } from './line-intake.js';
import { HttpProblem, PROBLEMS, problemOf, sendProblem } from './problem.js';
import { receiptOf, sendReceipt } from './receipt.js';
import { readPackedMessage } from './packed-message.js';
import {
  header,
  HTTP_INBOUND,
  httpIntake,
  idempotencyKeyOf,
  nextOf,
  receivedFrom,
  sourceOf,
  type HttpInbound,
} from './request-source.js';

const LONGEST_PATIENT_ID = 256;
/** What a packed message takes beside its content. */
const PACKING_BYTES = 1_024;

/** Any content: CDA, XML, text, custom. HL7 v2 and FHIR are read as such; the rest is kept, about whom `X-Anamnesis-Patient` says. */
@Controller('messages')
export class MessagesController {
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
      const contentType = mediaType(request.headers['content-type']);
      const patientId = header(request, 'x-anamnesis-patient')?.slice(0, LONGEST_PATIENT_ID);
      const readers: Readonly<Record<string, ReceivedMessage['reader']>> = {
        [HL7_CONTENT_TYPE]: 'hl7v2',
        [FHIR_CONTENT_TYPE]: 'fhir',
      };
      const outcome = await httpIntake(this.bus, this.inbound).receive({
        ...receivedFrom(request, source, contentType, bytes),
        reader: readers[contentType] ?? 'other',
        ...(patientId === undefined ? {} : { patientId }),
      });
      sendReceipt(response, receiptOf(outcome));
    } catch (error) {
      sendProblem(response, problemOf(error));
    }
  }

  /** A line is a packed message of any kind; see {@link readPackedMessage}. */
  @Post('batch')
  async receiveBatch(@Req() request: Request, @Res() response: Response): Promise<void> {
    try {
      const source = sourceOf(request, this.inbound);
      idempotencyKeyOf(request);
      await answerLines(request, response, {
        // Base64 takes four bytes for three.
        lineBytes: Math.ceil((this.inbound.bodyBytes * 4) / 3) + PACKING_BYTES,
        lineTooLarge: PROBLEMS.bodyTooLarge,
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

  private async accept(
    request: Request,
    source: SourceConfiguration,
    line: Buffer,
    number: number,
  ): Promise<IntakeOutcome> {
    const packed = readPackedMessage(line);
    if (packed === undefined) throw new HttpProblem(PROBLEMS.notPacked);
    const { contentType, bytes, fhir, key } = packed;
    if (contentType === EVENT_CONTENT_TYPE && bytes.length > this.inbound.eventBytes) {
      throw new HttpProblem(PROBLEMS.eventTooLarge);
    }
    if (bytes.length > this.inbound.bodyBytes) throw new HttpProblem(PROBLEMS.bodyTooLarge);
    return httpIntake(this.bus, this.inbound).receive({
      ...receivedFrom(request, source, contentType, bytes, number),
      ...(fhir === undefined ? {} : { fhir }),
      ...(key === undefined ? {} : { idempotencyKey: key }),
    });
  }
}
