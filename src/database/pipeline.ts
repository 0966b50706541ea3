/**
 * Several statements in one round trip: all are sent at once, with one Sync behind the last (PostgreSQL manual, "Extended Query", pipelining).
 * The server carries them out in order and skips the rest after the first that fails, so `begin … commit` is whole or nothing. COPY goes along
 * with its data: what the server has no use for after a failure it passes over up to the Sync.
 */
import type pg from 'pg';

/**
 * Text parameters as PostgreSQL reads them, in order of `$1`, `$2`, …; answers of a statement are not looked at. What is `prepared` comes again and
 * again with the same text: the session parses and plans it once.
 */
export type PipelineStep =
  | { readonly text: string; readonly values?: readonly (string | null)[]; readonly prepared?: true }
  | { readonly copy: string; readonly chunks: readonly Buffer[] };

/** What this uses of pg's connection. */
interface Wire {
  readonly stream: { write(bytes: Uint8Array): boolean; cork(): void; uncork(): void };
  parse(query: { text: string; name?: string }): void;
  bind(config: { statement?: string; values?: readonly (string | null)[] }): void;
  execute(config: object): void;
  endCopyFrom(): void;
  sync(): void;
}

type Settle = (error: Error | undefined) => void;

const COPY_DATA = 0x64;

/** Names of what a session has prepared, by text. */
class Prepared {
  private readonly names = new Map<string, string>();
  private sent = new Map<string, string>();
  private count = 0;

  /** @returns the name, and whether it is to be prepared now */
  use(text: string): { readonly name: string; readonly isNew: boolean } {
    const known = this.names.get(text) ?? this.sent.get(text);
    if (known !== undefined) return { name: known, isNew: false };
    // Never the same name again: what was prepared before the step that failed is still there.
    const name = `anamnesis_${(this.count += 1)}`;
    this.sent.set(text, name);
    return { name, isNew: true };
  }

  /** Whether what was sent has all been carried out. */
  settle(done: boolean): void {
    if (done) for (const [text, name] of this.sent) this.names.set(text, name);
    this.sent = new Map();
  }
}

const prepared = new WeakMap<pg.ClientBase, Prepared>();

function sendSteps(wire: Wire, steps: readonly PipelineStep[], kept: Prepared): void {
  for (const step of steps) {
    if ('copy' in step) {
      wire.parse({ text: step.copy });
      wire.bind({});
    } else if (step.prepared === true) {
      const { text, values = [] } = step;
      const { name, isNew } = kept.use(text);
      if (isNew) wire.parse({ text, name });
      wire.bind({ statement: name, values });
    } else {
      wire.parse({ text: step.text });
      wire.bind({ values: step.values ?? [] });
    }
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
    private readonly kept: Prepared,
    settle: Settle,
  ) {
    this.callback = settle;
  }

  readonly submit = (connection: unknown): void => {
    const wire = connection as Wire;
    wire.stream.cork();
    try {
      sendSteps(wire, this.steps, this.kept);
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
  let kept = prepared.get(client);
  if (kept === undefined) prepared.set(client, (kept = new Prepared()));
  const own = kept;
  return new Promise((resolve, reject) => {
    client.query(
      new Pipeline(steps, own, (error) => {
        own.settle(error === undefined);
        if (error === undefined) resolve();
        else reject(error);
      }),
    );
  });
}
