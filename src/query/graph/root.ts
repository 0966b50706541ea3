/** Root fields of the clinical graph: each hands its question to the bus. Changes are in mutations/. */
import { QueryBus } from '@nestjs/cqrs';
import { Args, Context, Query, Resolver } from '@nestjs/graphql';
import type { AtArguments } from '../basis/basis.js';
import type { Connection, PageArguments } from '../connection.js';
import type { KeysView } from '../key-desk.js';
import type { LogView, ProjectionView } from '../operations-view.js';
import type { Snapshot } from '../snapshot.js';
import type { TrialRequest } from '../source-trials.js';
import type { SourceView } from '../sources.js';
import type { Trial } from '../../inbound/sources/trial.js';
import { given } from './mutations/arguments.js';
import { refusing } from './mutations/refusal.js';
import {
  AtQuery,
  DeadLettersQuery,
  DiffQuery,
  KeysQuery,
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

  @Query('keys')
  keys(@Context() { session }: GraphContext): Promise<KeysView> {
    return this.queries.execute(new KeysQuery(session));
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
  @Query('source')
  async source(@Args('id') id: string, @Context() { session }: GraphContext): Promise<SourceView | null> {
    const [source] = await this.queries.execute(new SourcesQuery(session, id));
    return source ?? null;
  }

  @Query('trySource')
  trySource(@Args() asked: TrialRequest, @Context() { session }: GraphContext): Promise<Trial> {
    return refusing(() => session.services.trials.run(given(asked) as TrialRequest));
  }
}
