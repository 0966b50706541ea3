/** `/health/live`, `/health/ready` and `/metrics`, for any Node HTTP server. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Pool } from 'pg';
import type { SupervisorLink } from '../supervisor/role.js';
import { readiness } from './health.js';
import { METRICS_CONTENT_TYPE } from './metrics.js';
import { stateMetrics } from './state-metrics.js';

export interface OperationsOptions {
  readonly pool: Pool;
  readonly supervisor: SupervisorLink;
}

/**
 * A handler in the form of a middleware: answers the operational paths, passes on every other request.
 * `/health/ready` is 503 while anything is missing, and says what; `/metrics` covers all processes of the hub.
 */
export function operationsRoutes(
  options: OperationsOptions,
): (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void {
  return (request, response, next) => {
    const path = new URL(request.url ?? '/', 'http://hub').pathname;
    if (request.method !== 'GET' && request.method !== 'HEAD') return next();
    switch (path) {
      case '/health/live':
        return answer(response, 200, { status: 'live' });
      case '/health/ready':
        void readiness(options.pool, options.supervisor).then((state) =>
          answer(response, state.status === 'ready' ? 200 : 503, state),
        );
        return;
      case '/metrics':
        void metrics(options).then(
          (text) => {
            response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE });
            response.end(text);
          },
          (error: unknown) => next(error),
        );
        return;
      default:
        next();
    }
  };
}

/** Of the processes, and of the state where the database answers. */
async function metrics({ pool, supervisor }: OperationsOptions): Promise<string> {
  const [processes, state] = await Promise.all([supervisor.metrics(), stateMetrics(pool).catch(() => '')]);
  return `${processes.trimEnd()}\n\n${state}`;
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}
