/** One stage of a pipeline: one batch at a time, in the order of entering. */
export class Stage {
  private last: Promise<void> = Promise.resolve();

  /**
   * Resolves once every batch that entered before has left.
   * @returns leaves the stage; call it once
   */
  async enter(): Promise<() => void> {
    const before = this.last;
    let leave = (): void => undefined;
    this.last = new Promise<void>((resolve) => (leave = resolve));
    await before;
    return leave;
  }
}
