/** Changes of projections, through the commands of src/projecting/commands.ts. */
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { Args, Context, Mutation, Resolver } from '@nestjs/graphql';
import {
  CancelRebuild,
  PauseProjection,
  RebuildProjection,
  ResumeProjection,
  RollbackProjection,
  SwitchProjection,
  VerifyProjection,
  type CommandOptions,
} from '../../../projecting/commands.js';
import { GraphError } from '../../errors.js';
import type { ProjectionView } from '../../operations-view.js';
import { ProjectionsQuery } from '../queries.js';
import type { GraphContext } from '../resolvers.js';
import { given, requestedBy, type MutationArguments } from './arguments.js';
import { refusing } from './refusal.js';

interface ProjectionArguments extends MutationArguments {
  readonly name: string;
  readonly verify?: boolean | null;
  readonly switch?: boolean | null;
  readonly version?: number | null;
}

@Resolver()
export class ProjectionMutations {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Mutation('rebuildProjection')
  rebuild(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('rebuildProjection', context, asked, (options) => {
      return new RebuildProjection(asked.name, asked.verify ?? true, options, asked.switch ?? true);
    });
  }

  @Mutation('pauseProjection')
  pause(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('pauseProjection', context, asked, (options) => new PauseProjection(asked.name, options));
  }

  @Mutation('resumeProjection')
  resume(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('resumeProjection', context, asked, (options) => new ResumeProjection(asked.name, options));
  }

  @Mutation('cancelRebuild')
  cancel(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('cancelRebuild', context, asked, (options) => new CancelRebuild(asked.name, options));
  }

  @Mutation('switchProjection')
  switchTo(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('switchProjection', context, asked, (options) => {
      return new SwitchProjection(asked.name, asked.version ?? 0, options);
    });
  }

  @Mutation('rollbackProjection')
  rollback(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('rollbackProjection', context, asked, (options) => new RollbackProjection(asked.name, options));
  }

  @Mutation('verifyProjection')
  verify(@Args() asked: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change('verifyProjection', context, asked, (options) => {
      return new VerifyProjection(asked.name, asked.version ?? undefined, options);
    });
  }

  /** @throws GraphError BAD_USER_INPUT for a projection nobody knows, CONFLICT, WRITER_UNAVAILABLE */
  private async change(
    operation: string,
    context: GraphContext,
    asked: ProjectionArguments,
    commandOf: (options: CommandOptions) => object,
  ): Promise<ProjectionView> {
    const { session } = context;
    const { idempotencyKey, ...what } = asked;
    const by = requestedBy(context);
    await refusing(() =>
      session.services.mutations.once({ operation, arguments: what, idempotencyKey, requestedBy: by }, async () => {
        const { expectedVersion } = given(asked);
        await this.commands.execute(
          commandOf({
            requestedBy: by,
            ...(idempotencyKey == null ? {} : { idempotencyKey }),
            ...(expectedVersion === undefined ? {} : { expectedVersion }),
          }),
        );
        return null;
      }),
    );
    const [projection] = await this.queries.execute(new ProjectionsQuery(session, asked.name));
    if (projection === undefined) throw new GraphError('BAD_USER_INPUT', 'no projection of that name');
    return projection;
  }
}
