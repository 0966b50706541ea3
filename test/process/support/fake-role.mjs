// A role without content, for the supervisor's own tests: it listens, and obeys commands that come over its HTTP server.
import http from 'node:http';
import { counter } from '../../../dist/src/operations/metrics.js';
import { runRole } from '../../../dist/src/supervisor/child-runtime.js';

runRole(async (role) => async (context) => {
  if (process.env.FAKE_ROLE_FAILS === role) throw Object.assign(new Error('told to fail'), { code: 'FAKE_FAILURE' });
  const requests = counter('anamnesis_fake_requests_total', 'Requests to the fake role');
  const inFlight = new Set();
  const server = http.createServer(async (request, response) => {
    requests.inc();
    const { pathname } = new URL(request.url, 'http://fake');
    const answers = {
      '/': () => ({ role, pid: process.pid, listen: context.listen, database: context.databaseUrl }),
      '/query-address': () => context.queryAddress ?? null,
      '/roles': () => context.supervisor.roles(),
      '/metrics': () => context.supervisor.metrics(),
      '/crash': () =>
        setImmediate(() => {
          throw new Error('told to crash');
        }) && 'crashing',
      '/slow': () =>
        new Promise((resolve) => {
          inFlight.add(resolve);
          context.logger.info({ state: 'slow' }, 'slow request');
        }),
    };
    const answer = await (answers[pathname] ?? (() => 'unknown'))();
    response.setHeader('connection', 'close');
    response.end(JSON.stringify(answer));
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(role === 'project' ? 0 : context.listen.port, '127.0.0.1', resolve);
  });
  const address = `http://127.0.0.1:${server.address().port}`;
  return {
    addresses: { http: address, ...(role === 'ingest' ? { mllp: '127.0.0.1:1' } : {}) },
    async stop() {
      if (process.env.FAKE_ROLE_HANGS === role) await new Promise(() => undefined);
      const closed = new Promise((resolve) => server.close(resolve));
      for (const finish of inFlight) finish('finished');
      await closed;
    },
  };
});
