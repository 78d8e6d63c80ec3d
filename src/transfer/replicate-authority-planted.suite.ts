/** Defects that moves between two writers might have, one by one, for the trials to find. */
import { WriteGate } from '../device/index.ts';
import { RemoteVolume as Remote } from './replicate/agent/remote-volume.ts';
import { AgentAuthority, Lease, type RemoteVolume } from './replicate/index.ts';
import { GroupPromotions } from './replicate/provider/group-promotion.ts';
import { Promotions } from './replicate/provider/promotions.ts';
import { Replica } from './replicate/provider/replica.ts';
import { ReplicaAuthority } from './replicate/provider/replica-authority.ts';
import type { AuthorityOptions } from './replicate-authority-run.suite.ts';
import { TrackedModel } from './replicate-model.suite.ts';
import { PARTITION_LEASE_MS } from './replicate-partition.suite.ts';
import { replaced, withoutSync } from './replicate-planted.suite.ts';

export type PlantedAuthority = AuthorityOptions & {
  /** Changes the code itself; the answer undoes it. */
  readonly plant: () => () => void;
  /** Found where both sides are cut off from each other for long. */
  readonly isPartition?: true;
  /** Found where an agent serves before it has heard its provider. */
  readonly isAlone?: true;
};

const nothing = () => () => undefined;
const LEASE_MS = 60;

export const plantedAuthority: Readonly<Record<string, PlantedAuthority>> = {
  'writers are not stopped before the volume is handed over': {
    plant: () => replaced(WriteGate.prototype, 'close', async () => undefined),
  },
  'a branch is called kept before there is a snapshot of it': {
    plant: () =>
      replaced(Remote.prototype, 'snapshot', async function (this: RemoteVolume) {
        return { snapshot: '', digest: '', storedBytes: 0 };
      }),
  },
  "the provider's authority is not forced to its disk": {
    plant: nothing,
    env: (env) => withoutSync(env, 'authority.json'),
  },
  "the agent's authority is not forced to its disk": {
    plant: nothing,
    env: (env) => withoutSync(env, 'vol.json'),
  },
  'an agent forgets that it has offered the volume': {
    plant: () => replaced(AgentAuthority.prototype, 'stop', async () => undefined),
  },
  'what was written at the agent is not counted on the way back': {
    plant: () => {
      const { changedSince } = TrackedModel.prototype;
      return replaced(TrackedModel.prototype, 'changedSince', function (this: TrackedModel, count) {
        return this.isBringingBack ? [] : changedSince.call(this, count);
      });
    },
  },
  'the lease never runs out': {
    leaseMs: LEASE_MS,
    plant: () => {
      const original = Object.getOwnPropertyDescriptor(Lease.prototype, 'isValid')!;
      Object.defineProperty(Lease.prototype, 'isValid', { ...original, get: () => true });
      return () => void Object.defineProperty(Lease.prototype, 'isValid', original);
    },
  },
  'an agent with a lease writes before it has heard its provider': {
    ...{ leaseMs: LEASE_MS, isAlone: true },
    plant: () => {
      const wasHeard = new WeakSet<Lease>();
      const original = Object.getOwnPropertyDescriptor(Lease.prototype, 'isValid')!;
      const get = function (this: Lease) {
        return !wasHeard.has(this) || original.get!.call(this);
      };
      Object.defineProperty(Lease.prototype, 'isValid', { ...original, get });
      const { heard } = Lease.prototype;
      const undo = replaced(Lease.prototype, 'heard', function (this: Lease, sentBootMs) {
        wasHeard.add(this);
        heard.call(this, sentBootMs);
      });
      return () => {
        Object.defineProperty(Lease.prototype, 'isValid', original);
        undo();
      };
    },
  },
  'a provider forgets when it has heard an agent with a lease': {
    ...{ leaseMs: PARTITION_LEASE_MS, isPartition: true },
    plant: () => {
      const known = new WeakSet<object>();
      const { opened } = Promotions.prototype;
      return replaced(Promotions.prototype, 'opened', function (this: Promotions, replica) {
        const lease = opened.call(this, replica);
        if (!known.has(lease)) lease.heardMs = Number.NEGATIVE_INFINITY;
        known.add(lease);
        return lease;
      });
    },
  },
  'a provider takes a number that it had offered': {
    isPartition: true,
    plant: () => {
      const { prototype } = ReplicaAuthority;
      const original = Object.getOwnPropertyDescriptor(prototype, 'unused')!;
      const get = function (this: ReplicaAuthority) {
        return this.state.authority + 1;
      };
      Object.defineProperty(prototype, 'unused', { ...original, get });
      return () => void Object.defineProperty(prototype, 'unused', original);
    },
  },
  'the last snapshot is promoted instead of the last epoch': {
    plant: () => {
      const { assemble } = Replica.prototype;
      return replaced(Replica.prototype, 'assemble', async function (this: Replica) {
        return this.snapshot ?? (await assemble.call(this));
      });
    },
  },
};

/** Of the promotion of a group. */
export const plantedGroupPromotion: Readonly<Record<string, () => () => void>> = {
  'nothing is decided before the first of a group is promoted': () =>
    replaced(GroupPromotions.prototype, 'decide', async () => undefined),
  'a member that is opened again does not take what was decided': () =>
    replaced(GroupPromotions.prototype, 'finish', async () => undefined),
};
