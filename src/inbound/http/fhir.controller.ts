import { Controller, Inject, Param, Post, Put, Req, Res } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { Request, Response } from 'express';
import { FHIR_CONTENT_TYPE, isFhirR4Type, mediaType } from '../message-types.js';
import type { FhirPrecondition, ReceivedMessage } from '../received.js';
import { readBody } from './body.js';
import { fhirAnswer, problemOutcome } from './fhir-answer.js';
import { FHIR_ID } from './packed-message.js';
import { HttpProblem, prepareRefusal, PROBLEMS, problemOf } from './problem.js';
import {
  fhirBaseOf,
  header,
  HTTP_INBOUND,
  httpIntake,
  receivedFrom,
  sourceOf,
  type HttpInbound,
} from './request-source.js';

type Interaction = NonNullable<ReceivedMessage['fhir']>;

/** FHIR R4 in: bundles and resources. Reading FHIR is the query role's. */
@Controller('fhir')
export class FhirController {
  constructor(
    @Inject(CommandBus) private readonly bus: CommandBus,
    @Inject(HTTP_INBOUND) private readonly inbound: HttpInbound,
  ) {}

  @Post()
  bundle(@Req() request: Request, @Res() response: Response): Promise<void> {
    return this.receive(request, response, { interaction: 'batch' });
  }

  @Post(':type')
  create(@Req() request: Request, @Res() response: Response, @Param('type') type: string): Promise<void> {
    return this.receive(request, response, { interaction: 'create', type });
  }

  /** Conditional update: the criteria stand in the URL (FHIR R4 §3.1.0.6). */
  @Put(':type')
  conditionalUpdate(@Req() request: Request, @Res() response: Response, @Param('type') type: string): Promise<void> {
    return this.receive(request, response, { interaction: 'update', type });
  }

  @Put(':type/:id')
  update(
    @Req() request: Request,
    @Res() response: Response,
    @Param('type') type: string,
    @Param('id') id: string,
  ): Promise<void> {
    return this.receive(request, response, { interaction: 'update', type, id });
  }

  private async receive(request: Request, response: Response, fhir: Interaction): Promise<void> {
    try {
      if (fhir.type !== undefined && !isFhirR4Type(fhir.type)) throw new HttpProblem(PROBLEMS.notFound);
      if (fhir.id !== undefined && !FHIR_ID.test(fhir.id)) throw new HttpProblem(PROBLEMS.notFound);
      const precondition = preconditionOf(request, fhir);
      const source = sourceOf(request, this.inbound);
      const { bodyBytes, bodyRoom, bodyTimes } = this.inbound;
      const bytes = await readBody(request, bodyBytes, bodyRoom, PROBLEMS.bodyTooLarge, bodyTimes);
      const stated = mediaType(request.headers['content-type']);
      const json = stated.endsWith('json') || stated === 'application/octet-stream';
      const outcome = await httpIntake(this.bus, this.inbound).receive({
        ...receivedFrom(request, source, json ? FHIR_CONTENT_TYPE : stated, bytes),
        reader: 'fhir',
        fhir,
        ...(precondition === undefined ? {} : { precondition }),
      });
      const answer = fhirAnswer(outcome, fhir.interaction, fhirBaseOf(request));
      response.status(answer.status).set(answer.headers).type(FHIR_CONTENT_TYPE).send(JSON.stringify(answer.body));
    } catch (error) {
      const problem = problemOf(error);
      prepareRefusal(response, problem);
      response
        .status(problem.status)
        .type(FHIR_CONTENT_TYPE)
        .send(JSON.stringify(problemOutcome(problem)));
    }
  }
}

/**
 * `If-None-Exist` of a create (FHIR R4 §3.1.0.8.1), the criteria in the URL of an update, and `If-Match` of one (§3.1.0.5.1).
 * @throws HttpProblem
 */
function preconditionOf(request: Request, { interaction, id }: Interaction): FhirPrecondition | undefined {
  if (interaction === 'create') {
    const ifNoneExist = header(request, 'if-none-exist');
    return ifNoneExist === undefined ? undefined : { ifNoneExist };
  }
  if (interaction !== 'update') return undefined;
  const criteria = request.url.includes('?') ? request.url.slice(request.url.indexOf('?') + 1) : undefined;
  if (id === undefined && (criteria === undefined || criteria === '')) throw new HttpProblem(PROBLEMS.idOrCriteria);
  const version = header(request, 'if-match');
  const position = version === undefined ? undefined : /^W\/"(\d{1,19})"$/.exec(version)?.[1];
  if (version !== undefined && position === undefined) throw new HttpProblem(PROBLEMS.versionMismatch);
  return {
    ...(id === undefined && criteria !== undefined ? { criteria } : {}),
    ...(position === undefined ? {} : { ifMatch: BigInt(position) }),
  };
}
