/** Exit codes of every command. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** Ends a command with a message for the person in front of it. */
export class CliError extends Error {
  constructor(
    message: string,
    readonly exitCode: (typeof EXIT)['failed'] | (typeof EXIT)['usage'] = EXIT.failed,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
