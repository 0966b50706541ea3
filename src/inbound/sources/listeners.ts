/** Which sources may share an address. */
import { resolveSource, type SourceConfiguration, type SourceDefaults, type SourceSettings } from '../source.js';
import { SourceSettingsError } from './settings.js';

/**
 * Two sources on one address must be told apart by client certificates or by the senders' addresses, or every message would belong to both.
 * @throws SourceSettingsError
 */
export function checkListeners(
  id: string,
  settings: SourceSettings,
  others: readonly SourceConfiguration[],
  defaults: SourceDefaults,
): void {
  const { listener } = resolveSource(id, 0, settings, defaults);
  if (listener === undefined || listener.port === 0) return;
  for (const other of others) {
    const theirs = other.listener;
    if (other.id === id || theirs === undefined || theirs.port !== listener.port || theirs.host !== listener.host)
      continue;
    const toldApart = [listener, theirs].every(
      ({ clientCertificates, allowAddresses }) => clientCertificates !== undefined || allowAddresses !== undefined,
    );
    if (!toldApart) {
      throw new SourceSettingsError(
        'listener',
        `source ${other.id} listens there: expected clientCertificates or allowAddresses on both`,
      );
    }
    if ((listener.tls === undefined) !== (theirs.tls === undefined)) {
      throw new SourceSettingsError(
        'listener.tls',
        `source ${other.id} listens there: expected TLS on both or on neither`,
      );
    }
  }
}
