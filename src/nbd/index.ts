/** nbd: the NBD protocol, its server, its client as a Device; see README.md. */
export * from './attach/index.ts';
export type { NbdDevice, NbdFeatures } from './client.ts';
export { type ConnectOptions, connect, type ListOptions, list } from './connect.ts';
export { NbdError, type NbdErrorCode } from './errors.ts';
export type { Export, ExportSource, Exports, MetaContext, StatusExtent } from './exports.ts';
export { fitted } from './fitted.ts';
export { NAME_BYTES_MAX as EXPORT_NAME_BYTES_MAX } from './limits.ts';
export { type NbdServer, type ServeOptions, serve } from './server.ts';
export * from './threads/index.ts';
export { type CredentialFiles, readCredentials, type ServeTlsOptions } from './tls.ts';
export { formatUri, type NbdUri, parseUri, type UriCredentials } from './uri.ts';
