/** Root fields of the clinical graph: each hands its question or change to the bus. */
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { Args, Context, Mutation, Query, Resolver } from '@nestjs/graphql';
import type { AtArguments } from '../basis/basis.js';
import type { Connection, PageArguments } from '../connection.js';
import { GraphError } from '../errors.js';
import type { LogView, ProjectionView } from '../operations-view.js';
import type { Snapshot } from '../snapshot.js';
import type { SourceView } from '../sources.js';
import { ChangeProjection } from './commands.js';
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

@Resolver()
export class MutationRoot {
  constructor(private readonly commands: CommandBus) {}

  @Mutation('rebuildProjection')
  rebuild(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'rebuild', verify: given.verify ?? true });
  }

  @Mutation('pauseProjection')
  pause(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'pause' });
  }

  @Mutation('resumeProjection')
  resume(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'resume' });
  }

  @Mutation('cancelRebuild')
  cancel(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'cancel' });
  }

  @Mutation('switchProjection')
  switchTo(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'switch', version: given.version ?? 0 });
  }

  @Mutation('rollbackProjection')
  rollback(@Args() given: ProjectionArguments, @Context() context: GraphContext): Promise<ProjectionView> {
    return this.change(context, { ...named(given), kind: 'rollback' });
  }

  private change(
    { session }: GraphContext,
    change: ConstructorParameters<typeof ChangeProjection>[1],
  ): Promise<ProjectionView> {
    return this.commands.execute(new ChangeProjection(session, change));
  }
}

function named(given: ProjectionArguments): { name: string; idempotencyKey?: string; expectedVersion?: number } {
  return {
    name: given.name,
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
