/** What the graph can change today: projections. Each is a decision that the writer appends and the runtime carries out. */
export interface ProjectionCommand {
  readonly name: string;
  readonly idempotencyKey?: string;
  readonly expectedVersion?: number;
}

export interface ProjectionCommands {
  rebuild(command: ProjectionCommand & { readonly verify: boolean }): Promise<void>;
  pause(command: ProjectionCommand): Promise<void>;
  resume(command: ProjectionCommand): Promise<void>;
  cancel(command: ProjectionCommand): Promise<void>;
  switchTo(command: ProjectionCommand & { readonly version: number }): Promise<void>;
  rollback(command: ProjectionCommand): Promise<void>;
}
