/**
 * Statements and binary COPYs in one round trip. PostgreSQL runs a script of a simple query in order and takes each COPY's
 * rows at its place (PostgreSQL manual, 54.2.2 and 54.2.6); they are sent behind the script at once, without waiting to be
 * asked for. Where a statement fails the rest of the script is not run, and rows that still come are passed over.
 */
import pg, { type ClientBase, type Connection } from 'pg';
import { copyChunks, copyStatement, type CopyType } from './binary-copy.js';

/** Rows of one COPY; for the values see `copyChunks`. */
export interface ScriptedCopy {
  readonly table: string;
  readonly columns: readonly string[];
  readonly types: readonly CopyType[];
  readonly rows: Iterable<readonly unknown[]>;
}

/**
 * Runs a script in order. Results of its statements are not given back: what must hold is for the statements themselves to
 * check, by failing. Begins no transaction of its own: without `begin` and `commit` among the statements it is one.
 * @throws the server's error; the error of making a row (nothing of that COPY is stored then)
 */
export async function runScript(client: ClientBase, script: readonly (string | ScriptedCopy)[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    client.query(
      new CopyScript(script, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      }),
    );
  });
}

/**
 * A `Query` for pg's client: on a pipelined connection it takes no others, since one that keeps a portal open would get the answers of those behind
 * it. This one keeps none.
 */
class CopyScript extends pg.Query {
  private failure: Error | undefined;
  private settled = false;

  constructor(
    private readonly script: readonly (string | ScriptedCopy)[],
    private readonly settle: (error: Error | undefined) => void,
  ) {
    super('');
  }

  override readonly submit = (connection: Connection): void => {
    const { stream } = connection;
    // What goes together leaves together.
    stream.cork();
    try {
      this.write(connection);
    } finally {
      stream.uncork();
    }
  };

  private write(connection: Connection): void {
    const { stream } = connection;
    connection.query(
      this.script
        .map((step) => (typeof step === 'string' ? step : copyStatement(step.table, step.columns)))
        .join(';\n'),
    );
    for (const step of this.script) {
      if (typeof step === 'string') continue;
      try {
        for (const chunk of copyChunks(step.types, step.rows)) {
          const header = Buffer.allocUnsafe(5);
          header.writeUInt8(COPY_DATA, 0);
          header.writeUInt32BE(chunk.length + 4, 1);
          stream.write(header);
          stream.write(chunk);
        }
        stream.write(COPY_DONE);
      } catch (error) {
        // The server gives the COPY up and says so; what was wrong is known here.
        this.failure = error as Error;
        stream.write(COPY_FAIL);
        return;
      }
    }
  }

  // What the client calls as the server's messages come (pg's contract of a query).

  handleRowDescription(): void {
    // A statement gives rows; nobody asked for them.
  }

  handleDataRow(): void {
    // As above.
  }

  handleCommandComplete(): void {
    // One statement of the script is done.
  }

  handleEmptyQuery(): void {
    // An empty statement.
  }

  handleCopyInResponse(): void {
    // The rows are on their way.
  }

  handleReadyForQuery(): void {
    this.end(this.failure);
  }

  handleError(error: Error): void {
    this.end(this.failure ?? error);
  }

  private end(error: Error | undefined): void {
    if (this.settled) return;
    this.settled = true;
    this.settle(error);
  }
}

/** Of the protocol (PostgreSQL manual, 54.7): the type of CopyData ('d'), a whole CopyDone, a whole CopyFail with an empty reason. */
const COPY_DATA = 0x64;
const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
const COPY_FAIL = Buffer.from([0x66, 0, 0, 0, 5, 0]);
