/**
 * Work counted instead of timed: how many characters and bytes the searching and decoding methods of strings and buffers go over while a function
 * runs. The same on every machine, however busy.
 */

type Method = (this: unknown, ...args: never[]) => unknown;

/** What a call of each method costs, by what it was called on, its arguments and its result. */
const STRINGS: Readonly<Record<string, (text: string, args: readonly unknown[], result: unknown) => number>> = {
  indexOf: (text, args, result) => scanned(text.length, args[1], result),
  includes: (text, args, result) => (result === true ? 1 : scanned(text.length, args[1], -1)),
  split: (text) => text.length,
  charCodeAt: () => 1,
  replaceAll: (text) => text.length,
  trim: (text) => text.length,
};
const BUFFERS: Readonly<Record<string, (bytes: Buffer, args: readonly unknown[], result: unknown) => number>> = {
  indexOf: (bytes, args, result) => scanned(bytes.length, args[1], result),
  includes: (bytes, args, result) => (result === true ? 1 : scanned(bytes.length, args[1], -1)),
  toString: (bytes: Buffer, args: readonly unknown[]) =>
    typeof args[2] === 'number' ? args[2] - Number(args[1] ?? 0) : bytes.length,
  readUInt16LE: () => 1,
  readUInt16BE: () => 1,
  subarray: () => 1,
};

function scanned(length: number, from: unknown, result: unknown): number {
  const start = typeof from === 'number' ? from : 0;
  return Math.max((typeof result === 'number' && result >= 0 ? result : length) - start, 0) + 1;
}

/** Characters and bytes gone over while `work` runs; it must not wait for anything. */
export function workOf(work: () => void): number {
  let count = 0;
  const restore: (() => void)[] = [];
  const watch = <T>(
    prototype: object,
    costs: Readonly<Record<string, (on: T, args: readonly unknown[], result: unknown) => number>>,
  ): void => {
    for (const [name, cost] of Object.entries(costs)) {
      const original = Object.getOwnPropertyDescriptor(prototype, name);
      const method = (prototype as Readonly<Record<string, Method>>)[name]!;
      Object.defineProperty(prototype, name, {
        configurable: true,
        writable: true,
        value: function (this: T, ...args: never[]): unknown {
          const result = method.apply(this, args);
          count += cost(this, args, result);
          return result;
        },
      });
      restore.push(() => {
        if (original === undefined) delete (prototype as Record<string, unknown>)[name];
        else Object.defineProperty(prototype, name, original);
      });
    }
  };
  watch<string>(String.prototype, STRINGS);
  watch<Buffer>(Buffer.prototype as object, BUFFERS);
  try {
    work();
  } finally {
    for (const undo of restore) undo();
  }
  return count;
}
