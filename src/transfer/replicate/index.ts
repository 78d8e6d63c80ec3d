/** replicate: a volume kept present at a provider, by an agent; see README.md. */
export { Agent, isPassing, type OpenSession } from './agent/agent.ts';
export { comparedSource } from './agent/compared-source.ts';
export {
  type CutEpoch,
  type EpochSource,
  type KeepOptions,
  type KeepResult,
  keepReplica,
} from './agent/keep.ts';
export { Pace } from './agent/pace.ts';
export type { RemoteVolume } from './agent/remote-volume.ts';
export {
  Replication,
  type ReplicationOptions,
  type ReplicationState,
} from './agent/replication.ts';
export type { EpochReport, EpochRequest } from './agent/send-epoch.ts';
export { TrackedSource, type TrackedSourceOptions } from './agent/tracked-source.ts';
export { bindingOf, consumerOf, type Held, sinceOf } from './cursor.ts';
export { ReplicateError, type ReplicateErrorCode } from './errors.ts';
export { EPOCH_BYTES_DUE, PRE_IMAGE_BYTES_MAX } from './limits.ts';
export type { Tally } from './provider/attempt.ts';
export type { HeldView } from './provider/layers.ts';
export { noPolicy, type Policy, type Quota, type Right } from './provider/policy.ts';
export {
  Provider,
  type ProviderEvent,
  type ProviderOptions,
  type VolumeStatus,
} from './provider/provider.ts';
export { type MakeSnapshot, Replica, type ReplicaOptions } from './provider/replica.ts';
