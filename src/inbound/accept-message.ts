/** The command by which every transport hands a message in (docs/architecture.md §1: commands go through the bus). */
import { Command, CommandHandler, type CommandBus, type ICommandHandler } from '@nestjs/cqrs';
import { Inject } from '@nestjs/common';
import type { Intake, IntakeOutcome, ReceivedMessage } from './received.js';

/** Make this message durable, once, and say what became of it. */
export class AcceptMessage extends Command<IntakeOutcome> {
  constructor(readonly message: ReceivedMessage) {
    super();
  }
}

/** Token of the {@link Intake} that the handler works with. */
export const INTAKE = Symbol('Intake');

@CommandHandler(AcceptMessage)
export class AcceptMessageHandler implements ICommandHandler<AcceptMessage> {
  constructor(@Inject(INTAKE) private readonly intake: Intake) {}

  execute(command: AcceptMessage): Promise<IntakeOutcome> {
    return this.intake.receive(command.message);
  }
}

/** The bus as an {@link Intake}: what transports are given. */
export function intakeOver(bus: CommandBus): Intake {
  return { receive: (message) => bus.execute(new AcceptMessage(message)) };
}
