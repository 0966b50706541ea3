/** Changes of sources. Each is an event in the source's stream; docs/sources.md tells the life of a change. */
import { CommandBus } from '@nestjs/cqrs';
import { Args, Context, Mutation, Resolver } from '@nestjs/graphql';
import type { SourceAction } from '../../../inbound/sources/decide.js';
import type { SourceAnswer } from '../../../inbound/sources/book.js';
import { GraphError } from '../../errors.js';
import { ChangeSource } from '../../source-desk.js';
import type { SourceView } from '../../sources.js';
import type { GraphContext } from '../resolvers.js';
import { given, requestedBy, type MutationArguments } from './arguments.js';
import { refusing } from './refusal.js';

interface SourceArguments extends MutationArguments {
  readonly id: string;
  readonly reason?: string | null;
}

@Resolver()
export class SourceMutations {
  constructor(private readonly commands: CommandBus) {}

  @Mutation('setSource')
  set(
    @Args() asked: SourceArguments & { readonly settings: unknown },
    @Context() context: GraphContext,
  ): Promise<SourceView> {
    const { settings } = asked;
    if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
      throw new GraphError('BAD_USER_INPUT', 'settings: expected an object of settings by name');
    }
    return this.change('setSource', context, asked, { kind: 'set', settings });
  }

  @Mutation('disableSource')
  disable(@Args() asked: SourceArguments, @Context() context: GraphContext): Promise<SourceView> {
    return this.change('disableSource', context, asked, { kind: 'disable' });
  }

  @Mutation('enableSource')
  enable(@Args() asked: SourceArguments, @Context() context: GraphContext): Promise<SourceView> {
    return this.change('enableSource', context, asked, { kind: 'enable' });
  }

  @Mutation('pauseSource')
  pause(@Args() asked: SourceArguments, @Context() context: GraphContext): Promise<SourceView> {
    return this.change('pauseSource', context, asked, { kind: 'pause' });
  }

  @Mutation('resumeSource')
  resume(@Args() asked: SourceArguments, @Context() context: GraphContext): Promise<SourceView> {
    return this.change('resumeSource', context, asked, { kind: 'resume' });
  }

  @Mutation('rollbackSource')
  rollback(
    @Args() asked: SourceArguments & { readonly version: number },
    @Context() context: GraphContext,
  ): Promise<SourceView> {
    return this.change('rollbackSource', context, asked, { kind: 'rollback', version: asked.version });
  }

  /** @throws GraphError BAD_USER_INPUT with the setting and what was expected, CONFLICT, WRITER_UNAVAILABLE */
  private async change(
    operation: string,
    context: GraphContext,
    asked: SourceArguments,
    action: SourceAction,
  ): Promise<SourceView> {
    const { mutations, sourceDesk } = context.session.services;
    const { idempotencyKey, ...what } = asked;
    const by = requestedBy(context);
    const { expectedVersion, reason } = given(asked);
    return refusing(async () => {
      const answer = await mutations.once(
        { operation, arguments: what, idempotencyKey, requestedBy: by },
        (id): Promise<SourceAnswer> =>
          this.commands.execute(
            new ChangeSource({
              id,
              sourceId: asked.id,
              action,
              requestedBy: by,
              ...(expectedVersion === undefined ? {} : { expectedVersion }),
              ...(reason === undefined ? {} : { reason }),
              ...(idempotencyKey == null ? {} : { idempotencyKey }),
            }),
          ),
      );
      return sourceDesk.shown(answer);
    });
  }
}
