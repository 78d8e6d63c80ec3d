/** `--tls` and its friends, shared by the commands that serve over NBD. */
import type { Files } from '../core/index.ts';
import { readCredentials, type ServeTlsOptions } from '../nbd/index.ts';
import { usageError } from './errors.ts';
import { choice, flag, text, type Values } from './spec.ts';

export const tlsOptions = {
  tls: choice(
    ['off', 'allow', 'require'],
    'let clients use TLS, or serve nobody without it',
    'off',
  ),
  tlsCert: text('FILE', "the server's certificate, and what leads to its authority (PEM)", {
    completes: 'file',
  }),
  tlsKey: text('FILE', "the certificate's key (PEM)", { completes: 'file' }),
  tlsCa: text('FILE', 'who may sign the certificates of clients (PEM)', { completes: 'file' }),
  tlsVerifyPeer: flag('serve only clients with a certificate of --tls-ca'),
  tlsPsk: text('FILE', 'instead of certificates: lines of USER:HEXKEY', { completes: 'file' }),
} as const;

type TlsValues = Values<{
  readonly name: '';
  readonly summary: '';
  readonly arguments: Readonly<Record<never, never>>;
  readonly options: typeof tlsOptions;
  readonly examples: readonly [];
}>;

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
