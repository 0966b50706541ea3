import { expect, test } from '@jest/globals';
import { getEventListeners } from 'node:events';
import { untilAborted } from '../../src/projecting/until-aborted.js';

test('a result that was waited for leaves nothing on the signal', async () => {
  const { signal } = new AbortController();
  for (let turn = 0; turn < 100; turn += 1) expect(await untilAborted(Promise.resolve(turn), signal)).toBe(turn);
  await expect(untilAborted(Promise.reject(new Error('gone')), signal)).rejects.toThrow('gone');
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});

test('an abort ends the wait, also one that came before it', async () => {
  const abort = new AbortController();
  const waiting = untilAborted(new Promise(() => undefined), abort.signal);
  abort.abort();
  expect(await waiting).toBeUndefined();
  expect(await untilAborted(new Promise(() => undefined), abort.signal)).toBeUndefined();
});
