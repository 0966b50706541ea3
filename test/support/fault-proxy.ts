/**
 * A TCP proxy between the hub and something it depends on, which does what networks do: delays, cuts, half-opens, swallows,
 * and tears what is sent into pieces of any length. What passes is passed byte for byte and in order.
 */
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/**
 * What happens to what passes:
 * - `pass`: nothing;
 * - `delay`: each piece waits for up to `delayMs`, order kept;
 * - `swallow`: connections stay open and nothing passes in either direction, as behind a firewall that drops packets; what
 *   was sent meanwhile is gone, so the connection is cut when the fault ends;
 * - `swallow-answers`: requests pass, answers do not (the outcome of what was asked stays unknown); cut when the fault ends;
 * - `half-open`: the far side is closed and the near side never hears of it until the fault ends;
 * - `refuse`: connections are cut, new ones closed at once.
 */
export type Fault = 'pass' | 'delay' | 'swallow' | 'swallow-answers' | 'half-open' | 'refuse';

export const FAULTS: readonly Exclude<Fault, 'pass'>[] = ['delay', 'swallow', 'swallow-answers', 'half-open', 'refuse'];

export interface FaultProxy {
  readonly host: string;
  readonly port: number;
  /** Sets what happens from now on, to open connections and new ones. Those that a fault has damaged are cut. */
  set(fault: Fault): void;
  /** Sets the fault once a request with these bytes has passed, so that it hits the answer to it: the outcome is unknown. */
  setAfter(request: string, fault: Fault): void;
  /**
   * Each connection that is open now passes so many more bytes of requests; then nothing passes any more, and the far side hears nothing of it, nor
   * of the near side's end: what is left of a process that is held still in the middle of a request. Until they are cut.
   */
  standStillAfter(bytes: number): void;
  /** Cuts every open connection once (a reset), in whatever state it is. */
  cut(): void;
  /** Connections open now. */
  connections(): number;
  close(): Promise<void>;
}

export interface FaultProxyOptions {
  readonly target: { readonly host: string; readonly port: number };
  /** Seeded source of numbers in [0, 1). */
  readonly random: () => number;
  /** Longest wait of a piece under `delay`, in milliseconds. */
  readonly delayMs?: number;
  /** Tears what passes into pieces of 1 to this many bytes; whole as it comes where it is not given. */
  readonly pieceBytes?: number;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  /** Something it should have carried is gone. */
  damaged: boolean;
  /** Bytes of requests that still pass; undefined: all. */
  left?: number;
}

/** Starts a proxy on a free port of the loopback. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const pairs = new Set<Pair>();
  let fault: Fault = 'pass';
  let armed: { readonly request: string; readonly fault: Fault } | undefined;

  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    near.on('error', () => undefined);
    if (fault === 'refuse') {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ ...options.target, allowHalfOpen: true, noDelay: true });
    const pair: Pair = { near, far, damaged: false };
    pairs.add(pair);
    if (fault === 'half-open') breakFarSide(pair);
    carry(pair, near, far, 'request');
    carry(pair, far, near, 'answer');
    for (const socket of [near, far]) {
      socket.on('error', () => {
        if (socket === near && pair.left === 0) return;
        // Under a fault that hides it the near side does not hear of the end of the far one.
        if (socket === far && fault === 'half-open') return;
        end(pair);
      });
      socket.on('close', () => {
        if (socket === near && pair.left === 0) return;
        if (socket === far && (fault === 'half-open' || pair.damaged)) return;
        end(pair);
      });
    }
  });

  function carry(pair: Pair, from: Socket, to: Socket, direction: 'request' | 'answer'): void {
    let chain = Promise.resolve();
    from.on('data', (chunk: Buffer) => {
      from.pause();
      chain = chain.then(async () => {
        for (const whole of pieces(chunk)) {
          if (pair.left === 0) break;
          const piece = direction === 'request' ? whole.subarray(0, pair.left) : whole;
          if (pair.left !== undefined && direction === 'request') pair.left -= piece.length;
          const meant = armed !== undefined && direction === 'request' && piece.includes(armed.request);
          if (fault === 'delay') await wait(options.random() * (options.delayMs ?? 50));
          if (fault === 'swallow' || fault === 'half-open' || (fault === 'swallow-answers' && direction === 'answer')) {
            pair.damaged = true;
          }
          if (pair.damaged && (fault !== 'swallow-answers' || direction === 'answer')) continue;
          const room = to.write(piece);
          if (meant && armed !== undefined) set(armed.fault);
          if (!room) await drained(to);
        }
        from.resume();
      });
    });
    from.on('end', () => {
      void chain.then(() => {
        if (!pair.damaged && pair.left !== 0) to.end();
      });
    });
  }

  function* pieces(chunk: Buffer): Generator<Buffer> {
    if (options.pieceBytes === undefined) {
      yield chunk;
      return;
    }
    for (let from = 0; from < chunk.length;) {
      const to = Math.min(chunk.length, from + 1 + Math.floor(options.random() * options.pieceBytes));
      yield chunk.subarray(from, to);
      from = to;
    }
  }

  function breakFarSide(pair: Pair): void {
    pair.damaged = true;
    pair.far.resetAndDestroy();
  }

  function end(pair: Pair): void {
    if (!pairs.delete(pair)) return;
    pair.near.resetAndDestroy();
    pair.far.resetAndDestroy();
  }

  function set(next: Fault): void {
    armed = undefined;
    const before = fault;
    fault = next;
    if (before !== next) for (const pair of [...pairs]) if (pair.damaged) end(pair);
    if (next === 'refuse') for (const pair of [...pairs]) end(pair);
    if (next === 'half-open') for (const pair of pairs) breakFarSide(pair);
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    host: '127.0.0.1',
    port,
    set,
    setAfter(request, next) {
      armed = { request, fault: next };
    },
    standStillAfter(bytes) {
      for (const pair of pairs) pair.left = bytes;
    },
    cut() {
      for (const pair of [...pairs]) end(pair);
    },
    connections: () => pairs.size,
    async close() {
      for (const pair of [...pairs]) end(pair);
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}
