/**
 * Application acknowledgments of HL7 enhanced mode over return connections (HL7 v2.9 §2.9.3, DESIGN §3). What is due is kept in a table before
 * the message is acknowledged on its own connection, so that no crash loses it: a sender that got no accept acknowledgment sends again,
 * and the duplicate makes the same one due. It goes out once the chart has passed the message, or the message is parked.
 */
import type pg from 'pg';
import type { EventLogReader, Position } from '../../log/event-log.js';
import type { EventDecoder } from '../../projecting/decode.js';
import { Watermarks } from '../../projecting/watermark.js';
import type { TlsServerFiles } from '../../tls/server-credentials.js';
import { ackPolicy, applicationCondition } from '../hl7/ack.js';
import type { Hl7Message } from '../hl7/message.js';
import { readHl7 } from '../hl7/reader.js';
import { LogThrottle, type MllpLogger } from '../mllp/log-throttle.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../received.js';
import type { SourceDirectory } from '../sources.js';
import { ReturnLane, type LaneParts, type Settlement } from './lane.js';
import { ReturnPeer, type PeerLimits } from './peer.js';
import { AckRegister, type DueAck, type WaitingAck } from './register.js';

export interface ApplicationAcksOptions {
  readonly sources: SourceDirectory;
  /** With synchronous commit. */
  readonly pool: pg.Pool;
  /** For what may be done twice. */
  readonly relaxed: pg.Pool;
  /** Of the same database, for a listening connection. */
  readonly databaseUrl: string;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  /** Resolves once what was answered stands in the register: an outcome is read from there. */
  readonly remembered: () => Promise<void>;
  /** The hub's own TLS files. */
  readonly tls?: TlsServerFiles;
  readonly logger: MllpLogger;
  readonly peerLimits?: PeerLimits;
  readonly retryMs?: LaneParts['retryMs'];
}

const PROJECTED_TIMEOUT_MS = 30_000;

export class ApplicationAcks {
  private readonly register: AckRegister;
  private readonly logger: MllpLogger;
  private readonly lanes = new Map<string, ReturnLane>();
  private readonly unsubscribe: () => void;
  private watermarks: Promise<Watermarks> | undefined;
  private reached: Position = 0n;
  private queue: { readonly due: DueAck; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] =
    [];
  private adding = false;
  private closed = false;
  private readonly counts: Record<Settlement, number> = {
    delivered: 0,
    unwanted: 0,
    rejected: 0,
    refused: 0,
    expired: 0,
    unreadable: 0,
  };

  private constructor(private readonly options: ApplicationAcksOptions) {
    this.register = new AckRegister(options.pool, options.relaxed);
    this.logger = new LogThrottle(options.logger);
    this.unsubscribe = options.sources.onChange(({ before, after }) => {
      if (before?.returnConnection !== undefined || after.returnConnection !== undefined) this.follow();
    });
  }

  /** Begins to send what is due. */
  static async open(options: ApplicationAcksOptions): Promise<ApplicationAcks> {
    const acks = new ApplicationAcks(options);
    acks.follow();
    const given = await acks.register.purge([...acks.lanes.keys()]);
    if (given > 0)
      options.logger.warn({ count: given, reason: 'expired' }, 'application acknowledgments were given up');
    return acks;
  }

  /** What became of those that were due, since the start. */
  get statistics(): Readonly<Record<Settlement, number>> {
    return this.counts;
  }

  /** How many are waiting to go out. */
  waiting(): Promise<number> {
    return this.register.waiting();
  }

  /** The same intake; a message whose sender wants an application acknowledgment is answered once that one is kept. */
  over(intake: Intake): Intake {
    return {
      receive: async (message) => {
        const outcome = await intake.receive(message);
        const due = dueFor(message, outcome);
        if (due === undefined) return outcome;
        await this.options.remembered();
        await this.add(due);
        return outcome;
      },
    };
  }

  async close(): Promise<void> {
    this.closed = true;
    this.unsubscribe();
    const lanes = [...this.lanes.values()].map((lane) => lane.close());
    await this.watermarks?.then(
      (watermarks) => watermarks.close(),
      () => undefined,
    );
    await Promise.all(lanes);
  }

  /** One statement at a time takes all that have come meanwhile, in their order. */
  private add(due: DueAck): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue.push({ due, resolve, reject });
      void this.flush();
    });
  }

  private async flush(): Promise<void> {
    if (this.adding) return;
    this.adding = true;
    await Promise.resolve();
    while (this.queue.length > 0) {
      const batch = this.queue;
      this.queue = [];
      try {
        await this.register.add(batch.map(({ due }) => due));
        for (const { resolve } of batch) resolve();
        for (const source of new Set(batch.map(({ due }) => due.source))) this.lanes.get(source)?.wake();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.adding = false;
  }

  /** A lane for every source with a return connection; one that had one keeps its lane, for what is still due. */
  private follow(): void {
    if (this.closed) return;
    for (const { id, returnConnection } of this.options.sources.all()) {
      const lane = this.lanes.get(id);
      if (lane !== undefined) lane.wake();
      else if (returnConnection !== undefined) this.lanes.set(id, this.laneOf(id));
    }
  }

  private laneOf(id: string): ReturnLane {
    const { sources, tls, peerLimits, retryMs } = this.options;
    return new ReturnLane(id, {
      register: this.register,
      source: () => sources.find(id),
      projected: (position, signal) => this.projected(position, signal),
      open: (ack) => this.open(ack),
      connect: (connection) => new ReturnPeer(connection, tls, peerLimits),
      settled: (settlement) => (this.counts[settlement] += 1),
      logger: this.logger,
      ...(retryMs === undefined ? {} : { retryMs }),
    });
  }

  private async projected(position: Position, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted && this.reached < position) {
      this.watermarks ??= Watermarks.open(this.options.relaxed, this.options.databaseUrl);
      const opening = this.watermarks;
      try {
        const found = await (await opening).waitUntilProjected('master', position, PROJECTED_TIMEOUT_MS);
        if (found !== undefined && found.position > this.reached) this.reached = found.position;
      } catch (error) {
        if (this.watermarks === opening) this.watermarks = undefined;
        await opening.then(
          (watermarks) => watermarks.close(),
          () => undefined,
        );
        throw error;
      }
    }
    return !signal.aborted;
  }

  private async open(ack: WaitingAck): Promise<Hl7Message | undefined> {
    const [event] = await this.options.reader.readPage({ after: ack.position - 1n, limit: 1 });
    if (event?.id !== ack.eventId) return undefined;
    const [decoded] = await this.options.decoder.decode([event]);
    const body = decoded?.body;
    if (body?.state !== 'open') return undefined;
    const { charset } = body.header;
    return readHl7(body.content, charset === undefined ? {} : { charsetOverride: charset });
  }
}

function dueFor(message: ReceivedMessage, outcome: IntakeOutcome): DueAck | undefined {
  if (message.hl7 === undefined || message.source.returnConnection === undefined) return undefined;
  const condition = applicationCondition(message.hl7, ackPolicy(message.source));
  if (condition === undefined) return undefined;
  return { eventId: outcome.messageId, source: message.source.id, position: outcome.position, condition };
}
