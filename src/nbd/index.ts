/** nbd: the NBD protocol, its server, its client as a Device; see README.md. */
export type { NbdDevice } from './client.ts';
export { type ConnectOptions, connect, list } from './connect.ts';
export { NbdError, type NbdErrorCode } from './errors.ts';
export type { Export, ExportSource, Exports, MetaContext, StatusExtent } from './exports.ts';
export { type NbdServer, type ServeOptions, serve } from './server.ts';
export { formatUri, isUri, type NbdUri, parseUri } from './uri.ts';
