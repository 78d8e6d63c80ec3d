/** service: what a node is to others, and what it serves for long; see README.md. */

export { type Api, startApi } from './api/server.ts';
export { Counts, codeOf, nameOf } from './counts.ts';
export { ServiceError, type ServiceErrorCode } from './errors.ts';
export { Forwarder, type ForwardStatus } from './forwarder.ts';
export { type Grant, parseWindow, WINDOW_FORM } from './grant.ts';
export { jsonLog, type Log, type LogLevel, plainLog } from './log.ts';
export { metricsOf } from './metrics.ts';
export { nodeIdentity } from './node-identity.ts';
export { type Peer, PeerBook } from './peer-book.ts';
export type { Defaults } from './peer-policy.ts';
export { connectProvider, knownProvider, type LinkOptions, pairWith } from './provider-link.ts';
export { replicaExports } from './replica-exports.ts';
export { ReplicaServer, type ReplicaServerOptions, type ServerEvent } from './replica-server.ts';
export { runSchedule } from './schedule.ts';
export type { Observed, Status } from './status.ts';
export { FIRST_TENANT, TENANT_NAME, type TenantOptions, tenantOf } from './tenant.ts';
