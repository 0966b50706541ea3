import { afterEach, describe, expect, it } from '@jest/globals';
import type { Request } from 'express';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { Capacity } from '../../src/inbound/capacity.js';
import { linesOf, readBody } from '../../src/inbound/http/body.js';

const MIB = 1024 * 1024;
let server: http.Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

describe('large bodies', () => {
  it('come in only as far as there is room for all of them together, and small ones always', async () => {
    const room = new Capacity(Number.MAX_SAFE_INTEGER, 4 * MIB);
    const read: { size: number; answer: () => void }[] = [];
    server = http.createServer((request, response) => {
      const incoming = Object.assign(request, { res: response }) as unknown as Request;
      readBody(incoming, 10 * MIB, room).then(
        (bytes) => read.push({ size: bytes.length, answer: () => response.end(String(bytes.length)) }),
        () => response.destroy(),
      );
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const send = async (bytes: number): Promise<number> =>
      Number(await (await fetch(url, { method: 'POST', body: new Uint8Array(bytes) })).text());
    const large = [send(3 * MIB), send(3 * MIB), send(3 * MIB)];
    const until = async (count: number): Promise<void> => {
      while (read.length < count) await new Promise((resolve) => setImmediate(resolve));
    };
    await until(1);
    for (let n = 0; n < 5; n += 1) {
      const small = send(1000);
      await until(2);
      // The second large one is not in while the first is not answered, however many small ones come and go.
      expect(read.map((one) => one.size)).toEqual([3 * MIB, 1000]);
      read.pop()?.answer();
      expect(await small).toBe(1000);
    }
    for (let n = 0; n < 3; n += 1) {
      await until(1);
      expect(read.length).toBe(1);
      read.pop()?.answer();
    }
    expect(await Promise.all(large)).toEqual([3 * MIB, 3 * MIB, 3 * MIB]);
    expect(room.size).toBe(0);
  });
});

describe('lines of a stream', () => {
  it('are the same wherever the stream is cut; too long ones are passed over', async () => {
    const text = 'a\n\n \r\nbb\r\nccccc\ndddd\neeee\r\nlast';
    for (let size = 1; size < text.length; size += 1) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, n) =>
        Buffer.from(text.slice(n * size, (n + 1) * size)),
      );
      const lines: string[] = [];
      for await (const line of linesOf(Readable.from(chunks) as AsyncIterable<Buffer>, 4)) {
        lines.push(line.tooLarge === true ? 'too large' : line.bytes.toString());
      }
      expect(lines).toEqual(['a', 'bb', 'too large', 'dddd', 'eeee', 'last']);
    }
  });
});
