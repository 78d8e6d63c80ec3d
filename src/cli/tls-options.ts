/** `--tls` and its friends, shared by the commands that serve over NBD. */
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

export type TlsValues = Values<{
  readonly name: '';
  readonly summary: '';
  readonly arguments: Readonly<Record<never, never>>;
  readonly options: typeof tlsOptions;
  readonly examples: readonly [];
}>;
