/** How the servers of a role find out who asks, and what they show, by the configuration. */
import type { RoleContext } from '../supervisor/role.js';
import { ServerCredentials } from '../tls/server-credentials.js';
import type { Authentication } from './gate.js';
import { TokenVerifier } from './token-verifier.js';

/** The query role behind an ingest role hears from that who asks; every other server looks at tokens itself. */
export function authenticationOf(context: Pick<RoleContext, 'role' | 'config' | 'proxySecret'>): Authentication {
  const { auth } = context.config;
  if (auth.mode === 'loopback') return { mode: 'loopback' };
  if (context.role === 'query' && context.proxySecret !== undefined)
    return { mode: 'behind-ingest', secret: context.proxySecret };
  return { mode: 'tokens', verifier: new TokenVerifier(auth) };
}

/**
 * Certificate and key of the HTTPS server, where the configuration names them. Clients need no certificate here: tokens say who they are.
 * @throws TlsFilesError
 */
export async function openHttpsCredentials({
  config,
  logger,
}: Pick<RoleContext, 'config' | 'logger'>): Promise<ServerCredentials | undefined> {
  if (config.tls === undefined) return undefined;
  const { cert, key } = config.tls;
  return ServerCredentials.open(
    { cert, key },
    {
      onReload: () => logger.info('HTTPS uses a new certificate'),
      onTrouble: (error) =>
        logger.error({ err: error }, 'the changed TLS files cannot be used: HTTPS keeps the old ones'),
    },
  );
}
