/** Addresses as people and URIs write them. */
import type { Address } from './env.ts';

/** HOST:PORT, [IPV6]:PORT or unix:PATH. */
export function writtenAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return `${writtenHost(address.host)}:${address.port}`;
}

/** In brackets if it is an IPv6 address. */
export function writtenHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
