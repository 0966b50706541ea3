/** Root fields of the clinical graph: each hands its question or change to the bus. */
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { Args, Context, Mutation, Query, Resolver } from '@nestjs/graphql';
import { WriterUnavailableError } from '../../log/writer-mailbox.js';
import {
  CancelRebuild,
  PauseProjection,
  ProjectionConflictError,
  RebuildProjection,
  ResumeProjection,
  RollbackProjection,
  SwitchProjection,
  type CommandOptions,
} from '../../projecting/commands.js';
import { UnknownProjectionError } from '../../projecting/watermark.js';
import type { AtArguments } from '../basis/basis.js';
import type { Connection, PageArguments } from '../connection.js';
import { GraphError } from '../errors.js';
import type { LogView, ProjectionView } from '../operations-view.js';
import type { Snapshot } from '../snapshot.js';
import type { SourceView } from '../sources.js';
import {
  AtQuery,
  DeadLettersQuery,
  DiffQuery,
  LogQuery,
  MessageQuery,
  MessagesQuery,
  ProjectionsQuery,
  SourcesQuery,
  type DeadLetterFilter,
  type DiffArguments,
  type MessageFilter,
} from './queries.js';
import type { DeadLetterView, FactChangeView, GraphContext, MessageView } from './resolvers.js';

@Resolver()
export class QueryRoot {
  constructor(private readonly queries: QueryBus) {}

  @Query('at')
  at(@Args() given: AtArguments, @Context() { session }: GraphContext): Promise<Snapshot> {
    return this.queries.execute(new AtQuery(session, given));
  }

  @Query('diff')
  diff(@Args() given: DiffArguments, @Context() { session }: GraphContext): Promise<Connection<FactChangeView>> {
    return this.queries.execute(new DiffQuery(session, given));
  }

  @Query('message')
  message(@Args('id') id: string, @Context() { session }: GraphContext): Promise<MessageView | null> {
    return this.queries.execute(new MessageQuery(session, id));
  }

  @Query('messages')
  messages(
    @Args() { filter, ...page }: PageArguments & { filter?: MessageFilter | null },
    @Context() { session }: GraphContext,
  ): Promise<Connection<MessageView>> {
    return this.queries.execute(new MessagesQuery(session, filter ?? {}, page));
  }

  @Query('log')
  log(@Context() { session }: GraphContext): Promise<LogView> {
    return this.queries.execute(new LogQuery(session));
  }

  @Query('projections')
  projections(@Context() { session }: GraphContext): Promise<ProjectionView[]> {
    return this.queries.execute(new ProjectionsQuery(session));
  }

  @Query('deadLetters')
  deadLetters(
    @Args() { filter, ...page }: PageArguments & { filter?: DeadLetterFilter | null },
    @Context() { session }: GraphContext,
  ): Promise<Connection<DeadLetterView>> {
    return this.queries.execute(new DeadLettersQuery(session, filter ?? {}, page));
  }

  @Query('sources')
  sources(@Context() { session }: GraphContext): Promise<readonly SourceView[]> {
    return this.queries.execute(new SourcesQuery(session));
  }
}

interface ProjectionArguments {
  readonly name: string;
  readonly verify?: boolean | null;
  readonly version?: number;
  readonly idempotencyKey?: string | null;
  readonly expectedVersion?: number | null;
}

/** Who asks, until there is a login. */
const REQUESTED_BY = 'loopback';

@Resolver()
export class MutationRoot {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Mutation('rebuildProjection')
  rebuild(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new RebuildProjection(given.name, given.verify ?? true, optionsOf(given)));
  }

  @Mutation('pauseProjection')
  pause(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new PauseProjection(given.name, optionsOf(given)));
  }

  @Mutation('resumeProjection')
  resume(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new ResumeProjection(given.name, optionsOf(given)));
  }

  @Mutation('cancelRebuild')
  cancel(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new CancelRebuild(given.name, optionsOf(given)));
  }

  @Mutation('switchProjection')
  switchTo(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new SwitchProjection(given.name, given.version ?? 0, optionsOf(given)));
  }

  @Mutation('rollbackProjection')
  rollback(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, given, new RollbackProjection(given.name, optionsOf(given)));
  }

  /** @throws GraphError BAD_USER_INPUT for a projection nobody knows, CONFLICT, WRITER_UNAVAILABLE */
  private async change(
    { session }: GraphContext,
    given: ProjectionArguments,
    command: object,
  ): Promise<ProjectionView> {
    try {
      await this.commands.execute(command);
    } catch (error) {
      if (error instanceof UnknownProjectionError) throw new GraphError('BAD_USER_INPUT', 'no projection of that name');
      if (error instanceof ProjectionConflictError) throw new GraphError('CONFLICT', error.message);
      if (error instanceof WriterUnavailableError) {
        throw new GraphError('WRITER_UNAVAILABLE', error.message, { outcome: error.outcome });
      }
      throw error;
    }
    const [projection] = await this.queries.execute(new ProjectionsQuery(session, given.name));
    if (projection === undefined) throw new GraphError('BAD_USER_INPUT', 'no projection of that name');
    return projection;
  }
}

function optionsOf(given: ProjectionArguments): CommandOptions {
  return {
    requestedBy: REQUESTED_BY,
    ...(given.idempotencyKey == null ? {} : { idempotencyKey: given.idempotencyKey }),
    ...(given.expectedVersion == null ? {} : { expectedVersion: given.expectedVersion }),
  };
}

/** Changes whose own capability is not there yet: refused with a code, never silently taken. */
const NOT_YET = [
  'setSource',
  'disableSource',
  'enableSource',
  'correctDeadLetter',
  'replayDeadLetters',
  'discardDeadLetter',
  'mergePatients',
  'unmergePatients',
] as const;

export const notYet = Object.fromEntries(
  NOT_YET.map((name) => [
    name,
    (): never => {
      throw new GraphError('NOT_AVAILABLE', `${name} is not available in this version`);
    },
  ]),
);
