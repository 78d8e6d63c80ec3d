/** From `--tls` and its friends to what the server needs. */
import type { Files } from '../core/index.ts';
import { readCredentials, type ServeTlsOptions } from '../nbd/index.ts';
import { usageError } from './errors.ts';
import type { TlsValues } from './tls-options.ts';

/** Undefined if TLS is off; reads the files otherwise. */
export async function serveTlsOf(
  files: Files,
  values: TlsValues,
  command: string,
): Promise<ServeTlsOptions | undefined> {
  const { tls: mode, tlsCert, tlsKey, tlsCa, tlsVerifyPeer, tlsPsk } = values;
  if (mode === 'off') {
    const isGiven = tlsVerifyPeer || (tlsCert ?? tlsKey ?? tlsCa ?? tlsPsk) !== undefined;
    // Whoever names a key expects encryption.
    if (isGiven) throw usageError('TLS files without --tls=allow or --tls=require', command);
    return undefined;
  }
  if (tlsPsk === undefined && tlsCert === undefined) {
    throw usageError('--tls needs --tls-cert and --tls-key, or --tls-psk', command);
  }
  if (tlsPsk !== undefined && tlsVerifyPeer) {
    throw usageError('--tls-verify-peer is about certificates, not --tls-psk', command);
  }
  if (tlsVerifyPeer !== (tlsCa !== undefined)) {
    throw usageError('--tls-verify-peer and --tls-ca belong together', command);
  }
  const credentials = await readCredentials(files, {
    certificates: tlsCert,
    key: tlsKey,
    authorities: tlsCa,
    verifyPeer: tlsVerifyPeer,
    preSharedKeys: tlsPsk,
  });
  return { mode, credentials };
}
