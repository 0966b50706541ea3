/** One role seen from the supervisor: a child process that is started again, with a growing pause, whenever it ends unwanted. */
import { fork, type ChildProcess } from 'node:child_process';
import type { Logger } from 'pino';
import type { FromRole, SentContext, ToRole } from './protocol.js';
import type { Address, RoleState, RunningRole } from './role.js';

/** A process that ran this long starts again at once. */
const STEADY_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/**
 * Keeps the resident size of a role under 512 MB: heap, young generation (three times the semi-space), and room for buffers and code. With half the
 * young generation the ingest role spends two thirds more on collecting it.
 */
export const ROLE_NODE_FLAGS: readonly string[] = [
  '--max-old-space-size=288',
  '--max-semi-space-size=32',
  '--enable-source-maps',
];
const COLLECT_TIMEOUT_MS = 2_000;

export interface RoleProcessOptions {
  readonly role: SentContext['role'];
  /** Module that calls {@link runRole}. */
  readonly module: string;
  /** What to start with; asked anew at every start. */
  readonly context: () => SentContext;
  readonly logger: Logger;
  /** Where the child's output goes: a file descriptor, or the supervisor's own. */
  readonly output: number | 'inherit';
  /** A start succeeded. */
  readonly onReady: (addresses: RunningRole['addresses']) => void;
  /** A start failed or the process died; it will be started again unless `halt` was called. */
  readonly onDown: (failure: RoleFailure) => void;
  readonly onAsk: (what: 'metrics' | 'roles') => Promise<{ metrics?: string; roles?: readonly RoleState[] }>;
}

export interface RoleFailure {
  readonly role: SentContext['role'];
  readonly code: string;
  readonly message: string;
  /** Unwanted ends in a row, this one included. */
  readonly inARow: number;
}

export class RoleProcess {
  private child: ChildProcess | undefined;
  private state: RoleState['state'] = 'down';
  private restarts = 0;
  private inARow = 0;
  private wanted = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly collecting = new Map<number, (metrics: readonly object[]) => void>();
  private lastCollected = 0;
  addresses: RunningRole['addresses'] = {};

  constructor(private readonly options: RoleProcessOptions) {}

  get standing(): RoleState {
    const pid = this.child?.pid;
    return {
      role: this.options.role,
      state: this.state,
      ...(pid === undefined ? {} : { pid }),
      restarts: this.restarts,
    };
  }

  start(): void {
    this.wanted = true;
    this.spawn();
  }

  private spawn(): void {
    const { role, module, output, logger } = this.options;
    this.state = 'starting';
    const startedAt = performance.now();
    const child = fork(module, [role], {
      execArgv: [...ROLE_NODE_FLAGS],
      env: process.env,
      stdio: ['ignore', output, output, 'ipc'],
    });
    this.child = child;
    let failure = { code: 'ENDED', message: `the process of the role ${role} ended` };
    child.on('message', (message) => {
      const said = message as FromRole;
      if (said.type === 'failed') failure = { code: said.code, message: said.message };
      this.take(child, said);
    });
    child.on('error', (error) => {
      failure = { code: 'FORK_FAILED', message: error.message };
      if (child.pid === undefined) ended(null, null);
    });
    const ended = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (this.child !== child) return;
      this.child = undefined;
      this.state = 'down';
      if (!this.wanted) return;
      this.restarts += 1;
      this.inARow = performance.now() - startedAt >= STEADY_MS ? 1 : this.inARow + 1;
      logger.error(
        { role, code: failure.code, exitCode: exitCode ?? -1, signal: signal ?? '', restarts: this.restarts },
        'role ended',
      );
      const pause = Math.min(FIRST_PAUSE_MS * 2 ** (this.inARow - 1), LONGEST_PAUSE_MS);
      this.timer = setTimeout(() => this.spawn(), pause);
      this.options.onDown({ role, ...failure, inARow: this.inARow });
    };
    child.on('exit', ended);
    this.send({ type: 'start', context: this.options.context() });
  }

  private take(child: ChildProcess, message: FromRole): void {
    if (this.child !== child) return;
    switch (message.type) {
      case 'ready':
        this.state = this.state === 'stopping' ? 'stopping' : 'ready';
        this.addresses = message.addresses;
        this.options.onReady(message.addresses);
        return;
      case 'failed':
        return;
      case 'collected':
        this.collecting.get(message.id)?.(message.metrics);
        return;
      case 'ask':
        void this.answer(message.id, message.what);
        return;
    }
  }

  private async answer(id: number, what: 'metrics' | 'roles'): Promise<void> {
    this.send({ type: 'answer', id, ...(await this.options.onAsk(what)) });
  }

  /** Tells a role where the query role answers. */
  tellQueryAddress(address: Address | undefined): void {
    this.send({ type: 'query-address', ...(address === undefined ? {} : { address }) });
  }

  /** The role's metrics; none while it is down or does not answer. */
  async collect(): Promise<readonly object[]> {
    if (this.state !== 'ready') return [];
    this.lastCollected += 1;
    const id = this.lastCollected;
    return new Promise((resolve) => {
      const finish = (metrics: readonly object[]): void => {
        clearTimeout(late);
        this.collecting.delete(id);
        resolve(metrics);
      };
      const late = setTimeout(() => finish([]), COLLECT_TIMEOUT_MS);
      this.collecting.set(id, finish);
      this.send({ type: 'collect', id });
    });
  }

  /**
   * Stops the process in order, and kills it after `patienceMs`.
   * @returns false where it had to be killed
   */
  async stop(patienceMs: number): Promise<boolean> {
    this.wanted = false;
    clearTimeout(this.timer);
    const child = this.child;
    if (child === undefined) return true;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    let orderly = true;
    const late = setTimeout(() => {
      orderly = false;
      child.kill('SIGKILL');
    }, patienceMs);
    this.state = 'stopping';
    this.send({ type: 'stop' });
    await ended;
    clearTimeout(late);
    return orderly;
  }

  /** Ends the process at once. */
  kill(): void {
    this.wanted = false;
    clearTimeout(this.timer);
    this.child?.kill('SIGKILL');
  }

  private send(message: ToRole): void {
    const { child } = this;
    if (child === undefined || !child.connected) return;
    // A child that ends while it is told something is noticed by its exit.
    child.send(message, () => undefined);
  }
}
