/** The double's gRPC face: the services that the client calls, on the store. */
import {
  Metadata,
  Server,
  ServerCredentials,
  status as codes,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { randomUUID } from 'node:crypto';
import {
  DoubleStore,
  type AppendOutcome,
  type Expected,
  type FullEvent,
  type Proposed,
  type StoredEvent,
} from './store.js';
import {
  Any,
  Empty,
  features,
  featuresGrpc,
  gossip,
  gossipGrpc,
  shared,
  status,
  streams,
  streamsGrpc,
} from './stubs.js';

type ReadReq = InstanceType<typeof streams.ReadReq>;
type ReadResp = InstanceType<typeof streams.ReadResp>;
type AppendReq = InstanceType<typeof streams.AppendReq>;
type AppendResp = InstanceType<typeof streams.AppendResp>;
type BatchAppendReq = InstanceType<typeof streams.BatchAppendReq>;
type BatchAppendResp = InstanceType<typeof streams.BatchAppendResp>;
type FilterOptions = ReturnType<InstanceType<typeof streams.ReadReq.Options>['getFilter']>;
type ReadCall = ServerWritableStream<ReadReq, ReadResp>;

export interface DoubleOptions {
  readonly file: string;
  readonly host: string;
  readonly port: number;
  readonly maxAppendBytes: number;
  /** Answer "not ready" until told. */
  readonly notReady: boolean;
  /** `name:password`; every call but that for the server's features must carry it. */
  readonly user?: string;
  readonly tls?: { readonly key: Buffer; readonly certificate: Buffer };
}

/** A live subscription that has more than this waiting is cut. */
const LIVE_BUFFER_EVENTS = 32;
/** Events that a filtered subscription examines between two checkpoints, times its interval. */
const CHECKPOINT_WINDOW = 32;
const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

interface Waiting {
  readonly stream: string;
  readonly expected: Expected;
  readonly events: readonly Proposed[];
  answer(outcome: AppendOutcome): void;
}

/** A failure as a call's own status and trailers, in the server's terms. */
class CallError extends Error {
  readonly metadata = new Metadata();
  readonly details: string;
  constructor(
    readonly code: codes,
    message: string,
    trailers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.details = message;
    for (const [name, value] of Object.entries(trailers)) this.metadata.set(name, value);
  }
}

export class EventStoreDouble {
  private readonly store: DoubleStore;
  private readonly server: Server;
  private readonly waiting: Waiting[] = [];
  private scheduled = false;
  private ready: boolean;
  private readonly live = new Set<(events: readonly StoredEvent[]) => void>();
  /** How many appends (to one stream, or to any) are yet to be stored without an answer. */
  private unanswered = 0;
  private unansweredStream: string | undefined;
  port = 0;

  constructor(private readonly options: DoubleOptions) {
    this.store = new DoubleStore(options.file, options.maxAppendBytes);
    this.ready = !options.notReady;
    // A server that has elected itself says so in its log: readers of $all meet such events anywhere.
    this.store.appendSystemEvent('$epoch-information', '$epoch-information');
    this.server = new Server({ 'grpc.max_receive_message_length': MAX_REQUEST_BYTES });
    this.server.addService(streamsGrpc.StreamsService, {
      read: (call: ReadCall) => this.guarded(call, () => this.read(call)),
      append: (call: ServerReadableStream<AppendReq, AppendResp>, answer: sendUnaryData<AppendResp>) =>
        this.plainAppend(call, answer),
      batchAppend: (call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>) =>
        this.guarded(call, async () => this.batchAppend(call)),
      delete: (
        call: ServerUnaryCall<InstanceType<typeof streams.DeleteReq>, InstanceType<typeof streams.DeleteResp>>,
        answer: sendUnaryData<InstanceType<typeof streams.DeleteResp>>,
      ) => {
        this.store.softDelete(nameOf(call.request.getOptions()?.getStreamIdentifier()));
        answer(null, new streams.DeleteResp());
      },
      tombstone: (
        call: ServerUnaryCall<InstanceType<typeof streams.TombstoneReq>, InstanceType<typeof streams.TombstoneResp>>,
        answer: sendUnaryData<InstanceType<typeof streams.TombstoneResp>>,
      ) => {
        this.store.tombstone(nameOf(call.request.getOptions()?.getStreamIdentifier()));
        answer(null, new streams.TombstoneResp());
      },
    });
    this.server.addService(featuresGrpc.ServerFeaturesService, {
      getSupportedMethods: (_call: unknown, answer: sendUnaryData<InstanceType<typeof features.SupportedMethods>>) =>
        answer(null, supportedMethods()),
    });
    this.server.addService(gossipGrpc.GossipService, {
      read: (_call: unknown, answer: sendUnaryData<InstanceType<typeof gossip.ClusterInfo>>) =>
        answer(null, clusterOfOne(this.options.host, this.port)),
    });
  }

  async listen(): Promise<number> {
    const { tls, host, port } = this.options;
    const credentials =
      tls === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(null, [{ private_key: tls.key, cert_chain: tls.certificate }]);
    this.port = await new Promise<number>((resolve, reject) => {
      this.server.bindAsync(`${host}:${port}`, credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return this.port;
  }

  becomeReady(): void {
    this.ready = true;
  }

  /** The next so many appends (to that stream) are stored and never answered. */
  swallowAnswers(count: number, stream?: string): void {
    this.unanswered = count;
    this.unansweredStream = stream;
  }

  private guarded(
    call: ReadCall | ServerDuplexStream<BatchAppendReq, BatchAppendResp>,
    work: () => Promise<void>,
  ): void {
    if (!this.mayCall(call.metadata)) {
      call.emit('error', new CallError(codes.UNAUTHENTICATED, 'access denied', { exception: 'access-denied' }));
      return;
    }
    work().catch((error: unknown) => call.emit('error', error));
  }

  private mayCall(metadata: Metadata): boolean {
    if (this.options.user === undefined) return true;
    const wanted = `Basic ${Buffer.from(this.options.user).toString('base64')}`;
    return metadata.get('authorization')[0] === wanted;
  }

  /** Appends that have come since the last turn are stored together: one flush to disk for all. */
  private enqueue(waiting: Waiting): void {
    this.waiting.push(waiting);
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      const requests = this.waiting.splice(0);
      const from = this.store.events.length;
      const outcomes = this.store.appendAll(requests);
      const stored = this.store.events.slice(from);
      // Each append is a transaction, and is published to subscriptions as one.
      for (const transaction of transactions(stored)) for (const publish of [...this.live]) publish(transaction);
      for (const [index, request] of requests.entries()) {
        const meant = this.unansweredStream === undefined || this.unansweredStream === request.stream;
        if (this.unanswered > 0 && meant) this.unanswered -= 1;
        else request.answer(outcomes[index] as AppendOutcome);
      }
    });
  }

  private batchAppend(call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>): void {
    const open = new Map<string, { options: BatchAppendReq; events: Proposed[] }>();
    call.on('data', (request: BatchAppendReq) => {
      const id = uuidOf(request.getCorrelationId());
      const batch = open.get(id) ?? { options: request, events: [] };
      open.set(id, batch);
      for (const message of request.getProposedMessagesList()) batch.events.push(proposed(message));
      if (!request.getIsFinal()) return;
      open.delete(id);
      const options = batch.options.getOptions() as NonNullable<ReturnType<BatchAppendReq['getOptions']>>;
      const stream = nameOf(options.getStreamIdentifier());
      const response = new streams.BatchAppendResp()
        .setCorrelationId(request.getCorrelationId())
        .setStreamIdentifier(options.getStreamIdentifier());
      if (!this.ready) {
        call.write(
          response.setError(failure(codes.UNAVAILABLE, 'Server Is Not Ready', new Empty(), 'google.protobuf.Empty')),
        );
        return;
      }
      const expected: Expected = options.hasAny()
        ? 'any'
        : options.hasStreamExists()
          ? 'stream_exists'
          : options.hasNoStream()
            ? -1n
            : BigInt(options.getStreamPosition());
      this.enqueue({
        stream,
        expected,
        events: batch.events,
        answer: (outcome) => {
          if (!call.cancelled) call.write(batchAnswer(response, outcome, expected));
        },
      });
    });
    call.on('end', () => call.end());
  }

  private plainAppend(call: ServerReadableStream<AppendReq, AppendResp>, answer: sendUnaryData<AppendResp>): void {
    if (!this.mayCall(call.metadata)) {
      answer(new CallError(codes.UNAUTHENTICATED, 'access denied', { exception: 'access-denied' }));
      return;
    }
    let stream = '';
    let expected: Expected = 'any';
    const events: Proposed[] = [];
    call.on('data', (request: AppendReq) => {
      const options = request.getOptions();
      if (options !== undefined) {
        stream = nameOf(options.getStreamIdentifier());
        if (options.hasRevision()) expected = BigInt(options.getRevision());
        else if (options.hasNoStream()) expected = -1n;
        else if (options.hasStreamExists()) expected = 'stream_exists';
      }
      const message = request.getProposedMessage();
      if (message !== undefined) events.push(proposed(message));
    });
    call.on('end', () => {
      if (!this.ready) answer(new CallError(codes.UNAVAILABLE, 'Server Is Not Ready'));
      else
        this.enqueue({ stream, expected, events, answer: (outcome) => plainAnswer(answer, outcome, expected, stream) });
    });
  }

  private async read(call: ReadCall): Promise<void> {
    if (!this.ready) throw new CallError(codes.UNAVAILABLE, 'Server Is Not Ready');
    const options = call.request.getOptions() as NonNullable<ReturnType<ReadReq['getOptions']>>;
    const forwards = options.getReadDirection() === streams.ReadReq.Options.ReadDirection.FORWARDS;
    const stream = options.getStream();
    if (options.hasSubscription()) {
      await this.subscribe(call, options);
      return;
    }
    const count = options.getCount() === '' ? Infinity : Number(options.getCount());
    const out = new Outgoing(call);
    if (stream === undefined) await this.readAll(out, options, forwards, count);
    else await this.readStream(out, stream, forwards, count);
    call.end();
  }

  private async readStream(
    out: Outgoing,
    options: NonNullable<ReturnType<InstanceType<typeof streams.ReadReq.Options>['getStream']>>,
    forwards: boolean,
    count: number,
  ): Promise<void> {
    const name = nameOf(options.getStreamIdentifier());
    const stream = this.store.stream(name);
    if (stream?.tombstoned === true) {
      throw new CallError(codes.FAILED_PRECONDITION, `Event stream '${name}' is deleted.`, {
        exception: 'stream-deleted',
        'stream-name': name,
      });
    }
    if (stream === undefined) {
      await out.write(
        new streams.ReadResp().setStreamNotFound(
          new streams.ReadResp.StreamNotFound().setStreamIdentifier(options.getStreamIdentifier()),
        ),
      );
      return;
    }
    let revision = options.hasRevision()
      ? BigInt(options.getRevision())
      : options.hasStart()
        ? stream.first
        : stream.last;
    if (forwards && options.hasEnd()) return;
    if (forwards && revision < stream.first) revision = stream.first;
    if (!forwards && revision > stream.last) revision = stream.last;
    for (let sent = 0; sent < count; sent += 1) {
      const event = this.store.eventOfStream(name, revision);
      if (event === undefined || !(await out.write(eventResponse(this.store.read(event))))) return;
      revision += forwards ? 1n : -1n;
    }
  }

  private async readAll(
    out: Outgoing,
    options: InstanceType<typeof streams.ReadReq.Options>,
    forwards: boolean,
    count: number,
  ): Promise<void> {
    const from = options.getAll();
    if (from === undefined || (forwards ? from.hasEnd() : from.hasStart())) return;
    let index = forwards ? 0 : this.store.events.length - 1;
    if (from.hasPosition()) {
      const position = this.positionOf(from.getPosition()?.getCommitPosition());
      // Inclusive forwards, exclusive backwards.
      index = this.store.indexAt(position) - (forwards ? 0 : 1);
    }
    for (let sent = 0; sent < count; sent += 1) {
      const event = this.store.events[index];
      if (event === undefined || !(await out.write(eventResponse(this.store.read(event))))) return;
      index += forwards ? 1 : -1;
    }
  }

  private positionOf(text: string | undefined): bigint {
    const position = BigInt(text ?? '0');
    if (!this.store.isPosition(position)) {
      throw new CallError(codes.UNKNOWN, 'Unexpected ReadAllResult: Error');
    }
    return position;
  }

  /** History, then live. Everything behind `from`, which is exclusive. */
  private async subscribe(call: ReadCall, options: InstanceType<typeof streams.ReadReq.Options>): Promise<void> {
    const stream = options.getStream();
    const all = options.getAll();
    const name = stream === undefined ? undefined : nameOf(stream.getStreamIdentifier());
    const filter = options.getFilter();
    const wanted = name === undefined ? filterOf(filter) : (event: StoredEvent) => event.stream === name;
    let next: number;
    if (stream?.hasEnd() === true || all?.hasEnd() === true) {
      next = this.store.events.length;
    } else if (stream?.hasRevision() === true) {
      const after = BigInt(stream.getRevision());
      const found = this.store.events.findIndex((event) => event.stream === name && event.revision > after);
      next = found < 0 ? this.store.events.length : found;
    } else if (all?.hasPosition() === true) {
      const position = this.positionOf(all.getPosition()?.getCommitPosition());
      // Beyond the end is not refused, and not remembered either: what comes next comes, although it lies below.
      next = position >= this.store.endPosition ? this.store.events.length : this.store.indexAt(position);
      if (this.store.events[next]?.position === position) next += 1;
    } else {
      next = 0;
    }
    const out = new Outgoing(call);
    await out.write(
      new streams.ReadResp().setConfirmation(
        new streams.ReadResp.SubscriptionConfirmation().setSubscriptionId(randomUUID()),
      ),
    );
    const checkpoints =
      filter === undefined ? undefined : new Checkpoints(out, filter.getCheckpointintervalmultiplier());
    await checkpoints?.first();
    while (next < this.store.events.length) {
      const event = this.store.events[next] as StoredEvent;
      next += 1;
      if (wanted(event) && !(await out.write(eventResponse(this.store.read(event))))) return;
      await checkpoints?.examined(event.position, 0n);
      if (out.ended) return;
    }
    // No turn of the event loop lies between the last look and this: nothing is missed, nothing comes twice.
    const buffer: StoredEvent[] = [];
    let pumping = false;
    const cut = (): void => {
      this.live.delete(publish);
      call.emit(
        'error',
        new CallError(codes.ABORTED, 'Consumer too slow to handle event while live. Client resubscription required.'),
      );
    };
    const pump = async (): Promise<void> => {
      pumping = true;
      for (let event = buffer.shift(); event !== undefined && this.live.has(publish); event = buffer.shift()) {
        if (wanted(event) && !(await out.write(eventResponse(this.store.read(event))))) break;
        await checkpoints?.examined(event.position, event.position);
      }
      pumping = false;
    };
    const publish = (events: readonly StoredEvent[]): void => {
      const concerned = name === undefined ? events : events.filter((event) => event.stream === name);
      if (concerned.length === 0) return;
      if (buffer.length + concerned.length > LIVE_BUFFER_EVENTS) {
        cut();
        return;
      }
      buffer.push(...concerned);
      if (!pumping) void pump();
    };
    this.live.add(publish);
    call.on('cancelled', () => this.live.delete(publish));
    await out.write(new streams.ReadResp().setCaughtUp(new streams.ReadResp.CaughtUp()));
  }
}

/** Writes as fast as the reader takes it. */
class Outgoing {
  ended = false;
  private drained: (() => void) | undefined;

  constructor(private readonly call: ReadCall) {
    call.on('cancelled', () => {
      this.ended = true;
      this.drained?.();
    });
    call.on('drain', () => this.drained?.());
  }

  /** False when there is nobody to write to any more. */
  async write(response: ReadResp): Promise<boolean> {
    if (this.ended) return false;
    if (!this.call.write(response)) {
      await new Promise<void>((resolve) => (this.drained = resolve));
      this.drained = undefined;
    }
    return !this.ended;
  }
}

/** The first one is {0,0}; then one after every interval of examined events, never ahead of what was delivered. */
class Checkpoints {
  private seen = 0;

  constructor(
    private readonly out: Outgoing,
    private readonly interval: number,
  ) {}

  async first(): Promise<void> {
    await this.send(0n, 0n);
  }

  async examined(commit: bigint, prepare: bigint): Promise<void> {
    this.seen += 1;
    if (this.seen % (Math.max(this.interval, 1) * CHECKPOINT_WINDOW) === 0) await this.send(commit, prepare);
  }

  private async send(commit: bigint, prepare: bigint): Promise<void> {
    await this.out.write(
      new streams.ReadResp().setCheckpoint(
        new streams.ReadResp.Checkpoint().setCommitPosition(`${commit}`).setPreparePosition(`${prepare}`),
      ),
    );
  }
}

function filterOf(filter: FilterOptions): (event: StoredEvent) => boolean {
  const onStream = filter?.getStreamIdentifier();
  const expression = onStream ?? filter?.getEventType();
  if (expression === undefined) return () => true;
  const prefixes = expression.getPrefixList();
  const regex = prefixes.length > 0 ? undefined : new RegExp(expression.getRegex());
  return (event) => {
    const name = onStream === undefined ? event.type : event.stream;
    return regex === undefined ? prefixes.some((prefix) => name.startsWith(prefix)) : regex.test(name);
  };
}

function* transactions(events: readonly StoredEvent[]): Generator<StoredEvent[]> {
  let open: StoredEvent[] = [];
  for (const event of events) {
    const last = open.at(-1);
    if (last !== undefined && (last.stream !== event.stream || last.revision + 1n !== event.revision)) {
      yield open;
      open = [];
    }
    open.push(event);
  }
  if (open.length > 0) yield open;
}

function proposed(message: {
  getId(): InstanceType<typeof shared.UUID> | undefined;
  getMetadataMap(): { get(name: string): string | undefined };
  getCustomMetadata_asU8(): Uint8Array;
  getData_asU8(): Uint8Array;
}): Proposed {
  return {
    id: uuidOf(message.getId()),
    type: message.getMetadataMap().get('type') ?? '',
    contentType: message.getMetadataMap().get('content-type') ?? '',
    metadata: message.getCustomMetadata_asU8(),
    data: message.getData_asU8(),
  };
}

function batchAnswer(response: BatchAppendResp, outcome: AppendOutcome, expected: Expected): BatchAppendResp {
  switch (outcome.kind) {
    case 'stored': {
      const success = new streams.BatchAppendResp.Success();
      if (outcome.revision >= 0n) success.setCurrentRevision(`${outcome.revision}`);
      else success.setNoStream(new Empty());
      if (outcome.position === undefined) success.setNoPosition(new Empty());
      else {
        success.setPosition(
          new shared.AllStreamPosition()
            .setCommitPosition(`${outcome.position}`)
            .setPreparePosition(`${outcome.position}`),
        );
      }
      return response.setSuccess(success);
    }
    case 'wrong-revision': {
      const details = new shared.WrongExpectedVersion();
      if (outcome.current >= 0n) details.setCurrentStreamRevision(`${outcome.current}`);
      else details.setCurrentNoStream(new Empty());
      if (expected === 'any') details.setExpectedAny(new Empty());
      else if (expected === 'stream_exists') details.setExpectedStreamExists(new Empty());
      else if (expected < 0n) details.setExpectedNoStream(new Empty());
      else details.setExpectedStreamPosition(`${expected}`);
      return response.setError(
        failure(codes.FAILED_PRECONDITION, 'WrongExpectedVersion', details, 'event_store.client.WrongExpectedVersion'),
      );
    }
    case 'deleted':
      return response.setError(
        failure(
          codes.FAILED_PRECONDITION,
          'StreamDeleted',
          new shared.StreamDeleted().setStreamIdentifier(response.getStreamIdentifier()),
          'event_store.client.StreamDeleted',
        ),
      );
    case 'too-large':
      return response.setError(
        failure(
          codes.INVALID_ARGUMENT,
          'MaximumAppendSizeExceeded',
          new shared.MaximumAppendSizeExceeded().setMaxappendsize(outcome.limit),
          'event_store.client.MaximumAppendSizeExceeded',
        ),
      );
    case 'bad-request':
      return response.setError(
        failure(codes.INVALID_ARGUMENT, 'BadRequest', new shared.BadRequest(), 'event_store.client.BadRequest'),
      );
  }
}

function plainAnswer(
  answer: sendUnaryData<AppendResp>,
  outcome: AppendOutcome,
  expected: Expected,
  stream: string,
): void {
  switch (outcome.kind) {
    case 'stored': {
      const success = new streams.AppendResp.Success().setCurrentRevision(`${outcome.revision}`);
      if (outcome.position !== undefined) {
        success.setPosition(
          new streams.AppendResp.Position()
            .setCommitPosition(`${outcome.position}`)
            .setPreparePosition(`${outcome.position}`),
        );
      }
      answer(null, new streams.AppendResp().setSuccess(success));
      return;
    }
    case 'wrong-revision': {
      const wrong = new streams.AppendResp.WrongExpectedVersion();
      if (outcome.current >= 0n) wrong.setCurrentRevision(`${outcome.current}`);
      else wrong.setCurrentNoStream(new shared.Empty());
      if (expected === 'any') wrong.setExpectedAny(new shared.Empty());
      else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new shared.Empty());
      else if (expected < 0n) wrong.setExpectedNoStream(new shared.Empty());
      else wrong.setExpectedRevision(`${expected}`);
      answer(null, new streams.AppendResp().setWrongExpectedVersion(wrong));
      return;
    }
    case 'deleted':
      answer(
        new CallError(codes.FAILED_PRECONDITION, 'stream deleted', {
          exception: 'stream-deleted',
          'stream-name': stream,
        }),
      );
      return;
    case 'too-large':
      answer(
        new CallError(codes.INVALID_ARGUMENT, 'Maximum Append Size Exceeded.', {
          exception: 'maximum-append-size-exceeded',
          'maximum-append-size': `${outcome.limit}`,
        }),
      );
      return;
    case 'bad-request':
      answer(new CallError(codes.INVALID_ARGUMENT, 'bad request'));
  }
}

function failure(
  code: codes,
  message: string,
  details: { serializeBinary(): Uint8Array },
  type: string,
): InstanceType<typeof status.Status> {
  const any = new Any();
  any.pack(details.serializeBinary(), type);
  return new status.Status()
    .setCode(code as number)
    .setMessage(message)
    .setDetails(any);
}

function eventResponse(event: FullEvent): ReadResp {
  const recorded = new streams.ReadResp.ReadEvent.RecordedEvent()
    .setId(new shared.UUID().setString(event.id))
    .setStreamIdentifier(new shared.StreamIdentifier().setStreamName(Uint8Array.from(Buffer.from(event.stream))))
    .setStreamRevision(`${event.revision}`)
    .setCommitPosition(`${event.position}`)
    .setPreparePosition(`${event.position}`)
    .setCustomMetadata(Uint8Array.from(event.metadata))
    .setData(Uint8Array.from(event.data));
  const metadata = recorded.getMetadataMap();
  metadata.set('type', event.type);
  metadata.set('content-type', event.contentType);
  metadata.set('created', `${event.created}`);
  return new streams.ReadResp().setEvent(
    new streams.ReadResp.ReadEvent().setEvent(recorded).setCommitPosition(`${event.position}`),
  );
}

function nameOf(identifier: InstanceType<typeof shared.StreamIdentifier> | undefined): string {
  return identifier === undefined ? '' : Buffer.from(identifier.getStreamName_asU8()).toString('utf8');
}

function uuidOf(uuid: InstanceType<typeof shared.UUID> | undefined): string {
  return uuid?.getString() ?? '';
}

function supportedMethods(): InstanceType<typeof features.SupportedMethods> {
  const supported = new features.SupportedMethods().setEventStoreServerVersion('23.10.6');
  for (const method of ['read', 'append', 'delete', 'tombstone', 'batchappend']) {
    supported.addMethods(
      new features.SupportedMethod().setMethodName(method).setServiceName('event_store.client.streams.streams'),
    );
  }
  return supported;
}

function clusterOfOne(host: string, port: number): InstanceType<typeof gossip.ClusterInfo> {
  const member = new gossip.MemberInfo()
    .setIsAlive(true)
    .setState(gossip.MemberInfo.VNodeState.LEADER)
    .setHttpEndPoint(new gossip.EndPoint().setAddress(host).setPort(port));
  return new gossip.ClusterInfo().setMembersList([member]);
}
