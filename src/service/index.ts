/** service: what a node is to others, and what it serves for long; see README.md. */
export { ServiceError, type ServiceErrorCode } from './errors.ts';
export { nodeIdentity } from './node-identity.ts';
export { type Peer, PeerBook } from './peer-book.ts';
export { connectProvider, type LinkOptions, pairWith } from './provider-link.ts';
export { ReplicaServer, type ReplicaServerOptions } from './replica-server.ts';
