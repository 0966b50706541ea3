import { expect, test } from '@jest/globals';
import { createLogger } from '../../src/operations/logger.js';

function lines(): { write(line: string): void; all: Record<string, unknown>[] } {
  const all: Record<string, unknown>[] = [];
  return { all, write: (line) => void all.push(JSON.parse(line) as Record<string, unknown>) };
}

test('a log line keeps the listed fields only, also those of a child logger', () => {
  const out = lines();
  const logger = createLogger('ingest', 'info', out).child({ source: 'mllp', surname: 'Okafor' });
  logger.info({ position: 12n, patient: { name: 'Okafor' }, code: 'X', reason: { note: 'Okafor' } }, 'stored');
  expect(out.all).toEqual([
    expect.objectContaining({
      level: 'info',
      role: 'ingest',
      source: 'mllp',
      position: '12',
      code: 'X',
      msg: 'stored',
    }),
  ]);
  expect(JSON.stringify(out.all)).not.toContain('Okafor');
});

test('the message of an error is kept only where the hub or the operating system worded it', () => {
  const out = lines();
  const logger = createLogger('ingest', 'info', out);
  logger.error({ err: Object.assign(new Error('port in use'), { code: 'EADDRINUSE', syscall: 'listen' }) }, 'failed');
  logger.error({ err: Object.assign(new Error('Key (name)=(Okafor) exists'), { code: '23505' }) }, 'failed');
  logger.error(new SyntaxError('Unexpected token in "Okafor"'));
  logger.error(
    { err: new Error('x', { cause: Object.assign(new Error('Okafor'), { code: 'ERR_INVALID_ARG' }) }) },
    'failed',
  );
  expect(JSON.stringify(out.all)).toContain('port in use');
  expect(JSON.stringify(out.all)).toContain('23505');
  expect(JSON.stringify(out.all)).not.toContain('Okafor');
});
