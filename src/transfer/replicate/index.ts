/** replicate: a volume kept present at a provider, by an agent; see README.md. */
export { Agent, isPassing, type OpenSession } from './agent/agent.ts';
export { AgentAuthority, type Standing } from './agent/agent-authority.ts';
export { type BringBackReport, bringBack } from './agent/bring-back.ts';
export { comparedSource } from './agent/compared-source.ts';
export {
  type CutEpoch,
  type EpochSource,
  type KeepOptions,
  type KeepResult,
  keepReplica,
} from './agent/keep.ts';
export { Lease } from './agent/lease.ts';
export { Likeness } from './agent/likeness.ts';
export { keepBranch, Mandate, type MandateOptions } from './agent/mandate.ts';
export { Pace } from './agent/pace.ts';
export type { RemoteVolume } from './agent/remote-volume.ts';
export {
  type MeasuredSource,
  Replication,
  type ReplicationOptions,
  type ReplicationState,
} from './agent/replication.ts';
export type { EpochReport, EpochRequest } from './agent/send-epoch.ts';
export { TrackedSource, type TrackedSourceOptions } from './agent/tracked-source.ts';
export { bindingOf, consumerOf, type Held, sinceOf } from './cursor.ts';
export { isGroupName } from './epoch-group.ts';
export { ReplicateError, type ReplicateErrorCode } from './errors.ts';
export { EPOCH_BYTES_DUE, GROUP_MEMBERS_MAX, PRE_IMAGE_BYTES_MAX } from './limits.ts';
export type { Tally } from './provider/attempt.ts';
export type { HeldView } from './provider/layers.ts';
export { replicaFolder } from './provider/new-replica.ts';
export { noPolicy, type Policy, type Quota, type Right } from './provider/policy.ts';
export { checkNotOffered, openPromoted, type PromotedVolume } from './provider/promoted-volume.ts';
export type { Promoted, PromoteOptions } from './provider/promotions.ts';
export {
  Provider,
  type ProviderEvent,
  type ProviderOptions,
} from './provider/provider.ts';
export { Replica } from './provider/replica.ts';
export type { MakeSnapshot, ReplicaOptions } from './provider/replica-options.ts';
export type { VolumeStatus } from './provider/volume-status.ts';
