/**
 * Several statements in one round trip: all are sent at once, with one Sync behind the last (PostgreSQL manual, "Extended Query", pipelining).
 * The server carries them out in order and skips the rest after the first that fails, so `begin … commit` is whole or nothing. COPY goes along
 * with its data: what the server has no use for after a failure it passes over up to the Sync.
 */
import type pg from 'pg';

/** Text parameters as PostgreSQL reads them, in order of `$1`, `$2`, …; answers of a statement are not looked at. */
export type PipelineStep =
  | { readonly text: string; readonly values?: readonly (string | null)[] }
  | { readonly copy: string; readonly chunks: readonly Buffer[] };

/** What this uses of pg's connection. */
interface Wire {
  readonly stream: { write(bytes: Uint8Array): boolean; cork(): void; uncork(): void };
  parse(query: { text: string; name?: string }): void;
  bind(config: { values?: readonly (string | null)[] }): void;
  execute(config: object): void;
  endCopyFrom(): void;
  sync(): void;
}

type Settle = (error: Error | undefined) => void;

const COPY_DATA = 0x64;

function sendSteps(wire: Wire, steps: readonly PipelineStep[]): void {
  for (const step of steps) {
    wire.parse({ text: 'copy' in step ? step.copy : step.text });
    wire.bind({ values: 'copy' in step ? [] : (step.values ?? []) });
    wire.execute({});
    if (!('copy' in step)) continue;
    for (const chunk of step.chunks) {
      const head = Buffer.allocUnsafe(5);
      head.writeUInt8(COPY_DATA, 0);
      head.writeUInt32BE(chunk.length + 4, 1);
      wire.stream.write(head);
      wire.stream.write(chunk);
    }
    wire.endCopyFrom();
  }
}

/** A query as pg's client carries it out: answers come to the `handle…` methods. */
class Pipeline {
  /** pg looks for one, and puts its own here where a read timeout is set. */
  callback: Settle;

  constructor(
    private readonly steps: readonly PipelineStep[],
    settle: Settle,
  ) {
    this.callback = settle;
  }

  readonly submit = (connection: unknown): void => {
    const wire = connection as Wire;
    wire.stream.cork();
    try {
      sendSteps(wire, this.steps);
      wire.sync();
    } finally {
      wire.stream.uncork();
    }
  };

  handleError(error: Error): void {
    this.callback(error);
  }

  handleReadyForQuery(): void {
    this.callback(undefined);
  }

  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyInResponse(): void {}
  handleCopyData(): void {}
}

/** Carries the steps out in one round trip. @throws what the first failing step throws; the steps behind it did not run */
export function runPipeline(client: pg.ClientBase, steps: readonly PipelineStep[]): Promise<void> {
  return new Promise((resolve, reject) => {
    client.query(
      new Pipeline(steps, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      }),
    );
  });
}
