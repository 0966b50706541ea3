/** What the graph's mutations change, as commands on the bus. */
import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { GraphError } from '../errors.js';
import type { ProjectionCommand } from '../commands.js';
import type { ProjectionView } from '../operations-view.js';
import type { Session } from '../session.js';

export type ProjectionChange =
  | ({ readonly kind: 'rebuild'; readonly verify: boolean } & ProjectionCommand)
  | ({ readonly kind: 'pause' | 'resume' | 'cancel' | 'rollback' } & ProjectionCommand)
  | ({ readonly kind: 'switch'; readonly version: number } & ProjectionCommand);

export class ChangeProjection extends Command<ProjectionView> {
  constructor(
    readonly session: Session,
    readonly change: ProjectionChange,
  ) {
    super();
  }
}

@CommandHandler(ChangeProjection)
export class ChangeProjectionHandler implements ICommandHandler<ChangeProjection> {
  /** @throws GraphError BAD_USER_INPUT for a projection nobody knows, CONFLICT, WRITER_UNAVAILABLE */
  async execute({ session, change }: ChangeProjection): Promise<ProjectionView> {
    const { operations, commands } = session.services;
    const [before] = await operations.projections(change.name);
    if (before === undefined) throw new GraphError('BAD_USER_INPUT', 'no projection of that name');
    if (change.expectedVersion !== undefined && change.expectedVersion !== before.version) {
      throw new GraphError('CONFLICT', 'another build serves than was expected', { version: before.version });
    }
    switch (change.kind) {
      case 'rebuild':
        await commands.rebuild(change);
        break;
      case 'pause':
        await commands.pause(change);
        break;
      case 'resume':
        await commands.resume(change);
        break;
      case 'cancel':
        await commands.cancel(change);
        break;
      case 'switch':
        await commands.switchTo(change);
        break;
      case 'rollback':
        await commands.rollback(change);
        break;
    }
    const [after] = await operations.projections(change.name);
    return after ?? before;
  }
}

export const COMMAND_HANDLERS = [ChangeProjectionHandler];
