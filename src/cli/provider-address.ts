/** Providers as a person names them: `ferry://HOST:PORT`. */
import { type Address, writtenAddress } from '../core/index.ts';
import { parseAddress } from './listen.ts';

export type ProviderAddress = {
  readonly address: Address;
  /** HOST:PORT, by which it is remembered. */
  readonly written: string;
};

const SCHEME = 'ferry://';

/** Throws a plain Error. */
export function parseProvider(text: string): ProviderAddress {
  const written = text.slice(SCHEME.length).replace(/\/$/, '');
  if (!text.startsWith(SCHEME) || written.startsWith('unix:')) {
    throw new Error(`'${text}' is no provider; write ferry://HOST:PORT`);
  }
  return { address: parseAddress(written), written };
}

export function providerUri(address: Extract<Address, { kind: 'tcp' }>): string {
  return `${SCHEME}${writtenAddress(address)}`;
}
