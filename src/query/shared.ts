/** One run for all who ask before it begins. Whoever asks while one is under way waits for the next: nobody gets what was read before they asked. */
export class Shared<Found> {
  private running: Promise<unknown> | undefined;
  private next: Promise<Found> | undefined;

  constructor(private readonly work: () => Promise<Found>) {}

  /** @throws whatever the work throws, to all who share it */
  ask(): Promise<Found> {
    return (this.next ??= this.begin());
  }

  private async begin(): Promise<Found> {
    // A rejection is theirs who asked for that run.
    await this.running?.catch(() => undefined);
    this.next = undefined;
    const run = this.work();
    this.running = run;
    return run;
  }
}
