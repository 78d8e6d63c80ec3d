/** replicate: a volume kept present at a provider, by an agent; see README.md. */
export { ReplicateError, type ReplicateErrorCode } from './errors.ts';
export {
  Provider,
  type ProviderEvent,
  type ProviderOptions,
  type Quota,
} from './provider/provider.ts';
export { type MakeSnapshot, Replica, type ReplicaOptions } from './provider/replica.ts';
