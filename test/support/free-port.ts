/** A port for what has to be reached at the same one again after a restart. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';

const LOWEST = 10_000;
/** Linux gives connections ports from here on where nothing else is set. */
const FIRST_OF_CONNECTIONS = 32_768;

/**
 * A port of the loopback on which nobody listens, outside of those that the system itself gives away: whoever connects or listens anywhere meanwhile,
 * it stays free.
 */
export async function freePort(): Promise<number> {
  const range = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '');
  const first = Number.parseInt(range, 10) || FIRST_OF_CONNECTIONS;
  const span = first > 2 * LOWEST ? first - LOWEST : 65_536 - LOWEST;
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * span);
    const server = createServer();
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue;
      throw error;
    }
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
