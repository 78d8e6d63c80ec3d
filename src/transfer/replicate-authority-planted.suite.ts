/** Defects that moves between two writers might have, one by one, for the trials to find. */
import { WriteGate } from '../device/index.ts';
import { RemoteVolume as Remote } from './replicate/agent/remote-volume.ts';
import { AgentAuthority, Lease, type RemoteVolume } from './replicate/index.ts';
import { Replica } from './replicate/provider/replica.ts';
import type { AuthorityOptions } from './replicate-authority.suite.ts';
import { replaced, withoutSync } from './replicate-planted.suite.ts';
import { TrackedModel } from './replicate-simulation.suite.ts';

export type PlantedAuthority = AuthorityOptions & {
  /** Changes the code itself; the answer undoes it. */
  readonly plant: () => () => void;
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
  'the last snapshot is promoted instead of the last epoch': {
    plant: () => {
      const { assemble } = Replica.prototype;
      return replaced(Replica.prototype, 'assemble', async function (this: Replica) {
        return this.snapshot ?? (await assemble.call(this));
      });
    },
  },
};
