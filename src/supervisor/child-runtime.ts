/** The process of one role: starts it with what the supervisor sends, answers its questions, and ends with it. */
import type { Logger } from 'pino';
import { collectMetrics, startMetrics } from '../operations/metrics.js';
import { createLogger } from '../operations/logger.js';
import type { FromRole, SentContext, ToRole } from './protocol.js';
import type { Address, RoleContext, RoleState, RunningRole, StartRole, SupervisorLink } from './role.js';

const ASK_TIMEOUT_MS = 5_000;

/** Runs the role of this process. The process must have been forked by a supervisor; it ends when that ends. */
export function runRole(load: (role: SentContext['role']) => Promise<StartRole>): void {
  new RoleProcess(load).listen();
}

class RoleProcess {
  private running: RunningRole | undefined;
  private stopping = false;
  private queryAddress: Address | undefined;
  private readonly asked = new Map<number, (answer: Extract<ToRole, { type: 'answer' }>) => void>();
  private lastAsked = 0;
  private logger: Logger = createLogger('starting', 'info');

  constructor(private readonly load: (role: SentContext['role']) => Promise<StartRole>) {}

  listen(): void {
    process.on('message', (message) => void this.take(message as ToRole));
    // Nobody is left to stop this process in order, nor to start it again: what is not durable was not acknowledged.
    process.on('disconnect', () => process.exit(1));
    // Ctrl-C and a service manager signal the whole group; the order of a stop is the supervisor's.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
    process.on('uncaughtException', (error) => this.crash(error));
    process.on('unhandledRejection', (error) => this.crash(error));
  }

  private async take(message: ToRole): Promise<void> {
    switch (message.type) {
      case 'start':
        return this.start(message.context);
      case 'query-address':
        this.queryAddress = message.address;
        return;
      case 'collect':
        return this.tell({ type: 'collected', id: message.id, metrics: await collectMetrics() });
      case 'answer':
        this.asked.get(message.id)?.(message);
        this.asked.delete(message.id);
        return;
      case 'stop':
        return this.stop();
    }
  }

  private async start(sent: SentContext): Promise<void> {
    process.title = `anamnesis ${sent.role}`;
    this.logger = createLogger(sent.role, sent.config.logLevel);
    this.queryAddress = sent.queryAddress;
    startMetrics(sent.role);
    const queryAddress = (): Address | undefined => this.queryAddress;
    const context: RoleContext = {
      ...sent,
      get queryAddress() {
        return queryAddress();
      },
      logger: this.logger,
      supervisor: this.link(),
    };
    try {
      const startRole = await this.load(sent.role);
      this.running = await startRole(context);
    } catch (error) {
      return this.crash(error);
    }
    if (this.stopping) return this.stop();
    this.tell({ type: 'ready', addresses: this.running.addresses });
  }

  private async stop(): Promise<void> {
    if (this.stopping && this.running === undefined) return;
    this.stopping = true;
    // A start under way is finished first, then stopped: it may be half way through taking over the log.
    if (this.running === undefined) return;
    const running = this.running;
    this.running = undefined;
    try {
      await running.stop();
    } catch (error) {
      return this.crash(error);
    }
    process.exit(0);
  }

  private crash(error: unknown): void {
    this.logger.fatal({ err: error }, 'role failed');
    const { code, message } = wordingOf(error);
    this.tell({ type: 'failed', code, message }, () => process.exit(1));
  }

  private link(): SupervisorLink {
    return {
      metrics: async () => (await this.ask('metrics')).metrics ?? '',
      roles: async () => (await this.ask('roles')).roles ?? ([] as readonly RoleState[]),
    };
  }

  private ask(what: 'metrics' | 'roles'): Promise<Extract<ToRole, { type: 'answer' }>> {
    this.lastAsked += 1;
    const id = this.lastAsked;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.asked.delete(id);
        reject(new Error('the supervisor does not answer'));
      }, ASK_TIMEOUT_MS);
      this.asked.set(id, (answer) => {
        clearTimeout(late);
        resolve(answer);
      });
      this.tell({ type: 'ask', id, what });
    });
  }

  /** Messages to a supervisor that has gone are lost, and so is this process a moment later. */
  private tell(message: FromRole, done?: () => void): void {
    if (process.send === undefined || !process.connected) {
      done?.();
      return;
    }
    process.send(message, () => done?.());
  }
}

/** For the person in front of the console: a start is refused for reasons of configuration, ports and files. */
function wordingOf(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: 'UNKNOWN', message: 'failed' };
  const { code } = error as { code?: unknown };
  return { code: typeof code === 'string' ? code : 'UNKNOWN', message: error.message };
}
