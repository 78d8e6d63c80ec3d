/** replicate: a volume kept present at a provider, by an agent; see README.md. */
export { Agent, isPassing, type OpenSession } from './agent/agent.ts';
export { comparedSource } from './agent/compared-source.ts';
export {
  type CutEpoch,
  type EpochSource,
  type Held,
  type KeepOptions,
  type KeepResult,
  keepReplica,
} from './agent/keep.ts';
export type { RemoteVolume } from './agent/remote-volume.ts';
export type { EpochReport, EpochRequest } from './agent/send-epoch.ts';
export { ReplicateError, type ReplicateErrorCode } from './errors.ts';
export {
  Provider,
  type ProviderEvent,
  type ProviderOptions,
  type Quota,
} from './provider/provider.ts';
export { type MakeSnapshot, Replica, type ReplicaOptions } from './provider/replica.ts';
