/** Changes of dead letters. Each is an event beside the message; docs/dead-letters.md tells the life of a letter. */
import { Args, Context, Mutation, Resolver } from '@nestjs/graphql';
import { GraphError } from '../../errors.js';
import { readUuid } from '../../ids.js';
import type { LetterChange } from '../../letter-desk.js';
import type { DeadLetterView, GraphContext } from '../resolvers.js';
import { given, requestedBy, type MutationArguments } from './arguments.js';
import { refusing } from './refusal.js';

interface CorrectArguments extends MutationArguments {
  readonly id: string;
  readonly body: string;
  readonly base64?: boolean | null;
}

interface ReplayArguments extends MutationArguments {
  readonly ids?: readonly string[] | null;
  readonly all?: boolean | null;
}

interface DiscardArguments extends MutationArguments {
  readonly id: string;
  readonly reason: string;
}

const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

@Resolver()
export class LetterMutations {
  @Mutation('correctDeadLetter')
  async correct(@Args() asked: CorrectArguments, @Context() context: GraphContext): Promise<DeadLetterView> {
    const id = letterId(asked.id);
    const body = bytesOf(asked);
    await change('correctDeadLetter', context, asked, async (desk, request) => {
      await desk.correct(id, body, request);
      return null;
    });
    return only(await lettersOf(context, [id]));
  }

  @Mutation('replayDeadLetters')
  async replay(@Args() asked: ReplayArguments, @Context() context: GraphContext): Promise<DeadLetterView[]> {
    const { ids, all, expectedVersion } = given(asked);
    if ((ids === undefined) === (all !== true)) {
      throw new GraphError('BAD_USER_INPUT', 'expected either ids or all: true');
    }
    if (expectedVersion !== undefined && ids?.length !== 1) {
      throw new GraphError('BAD_USER_INPUT', 'expectedVersion is about one letter');
    }
    const wanted = ids?.map(letterId);
    const replayed = await change('replayDeadLetters', context, asked, (desk, request) =>
      wanted === undefined ? desk.replayAll(request) : desk.replay(wanted, request),
    );
    return lettersOf(context, replayed);
  }

  @Mutation('discardDeadLetter')
  async discard(@Args() asked: DiscardArguments, @Context() context: GraphContext): Promise<DeadLetterView> {
    const id = letterId(asked.id);
    await change('discardDeadLetter', context, asked, async (desk, request) => {
      await desk.discard(id, asked.reason, request);
      return null;
    });
    return only(await lettersOf(context, [id]));
  }
}

/** @throws GraphError BAD_USER_INPUT, NOT_FOUND, CONFLICT, ERASED, WRITER_UNAVAILABLE */
function change<Answer>(
  operation: string,
  context: GraphContext,
  asked: MutationArguments,
  work: (desk: GraphContext['session']['services']['letterDesk'], request: LetterChange) => Promise<Answer>,
): Promise<Answer> {
  const { mutations, letterDesk } = context.session.services;
  const { idempotencyKey, ...what } = asked;
  const by = requestedBy(context);
  const { expectedVersion } = given(asked);
  return refusing(() =>
    mutations.once({ operation, arguments: what, idempotencyKey, requestedBy: by }, (id) =>
      work(letterDesk, {
        request: id,
        requestedBy: by,
        ...(expectedVersion === undefined ? {} : { expectedVersion }),
      }),
    ),
  );
}

async function lettersOf(context: GraphContext, ids: readonly string[]): Promise<DeadLetterView[]> {
  const { session } = context;
  const snapshot = await session.now();
  const rows = await session.services.operations.deadLetters(snapshot.basis.build, {
    ids,
    after: 0n,
    limit: ids.length,
  });
  return rows.map((row) => ({ row, snapshot }));
}

function only([view]: readonly DeadLetterView[]): DeadLetterView {
  if (view === undefined) throw new GraphError('NOT_FOUND', 'no dead letter has this id');
  return view;
}

function letterId(id: string): string {
  const uuid = readUuid(id);
  if (uuid === undefined) throw new GraphError('NOT_FOUND', 'no dead letter has this id');
  return uuid;
}

function bytesOf({ body, base64 }: CorrectArguments): Buffer {
  if (base64 !== true) return Buffer.from(body, 'utf8');
  if (!BASE64.test(body)) throw new GraphError('BAD_USER_INPUT', 'body: expected base64');
  return Buffer.from(body, 'base64');
}
