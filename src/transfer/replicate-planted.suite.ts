/** Defects that a replication might have, one by one, for the trials to find. */
import type { Env, OpenFile } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { type CutEpoch, type EpochSource, type Held, Provider } from './replicate/index.ts';
import { Attempt } from './replicate/provider/attempt.ts';
import { Decisions } from './replicate/provider/group-decision.ts';
import { Journal } from './replicate/provider/journal.ts';
import { Layers } from './replicate/provider/layers.ts';
import type { TrackedModel } from './replicate-model.suite.ts';
import type { Plant } from './replicate-simulation.suite.ts';

export type Planted = Plant & {
  /** Changes the code itself; the answer undoes it. */
  readonly plant?: () => () => void;
  /** Tried with two volumes that are cut at one moment. */
  readonly isGroup?: boolean;
  /** Found where the provider's disk goes back to an older copy. */
  readonly goesBack?: boolean;
};

export const planted: Readonly<Record<string, Planted>> = {
  'a block that was overwritten is sent as it is now': {
    source: (model) => changed(model, async (cut) => ({ ...cut, device: live(model, cut.device) })),
  },
  'one block of an epoch is superseded by what it holds now': {
    source: (model) =>
      changed(model, async (cut) => ({ ...cut, device: live(model, cut.device, 1) })),
  },
  'an epoch is committed before all of it has come': {
    plant: () => replaced(Attempt.prototype, 'isComplete', () => true),
  },
  'the cursor moves when an epoch is cut': {
    source: (model) =>
      changed(model, async (cut, held) => {
        await cut.acknowledged({ ...held, epoch: held.epoch + 1 });
        return cut;
      }),
  },
  'the cursor moves to now instead of to the cut': {
    source: (model) => changed(model, async (cut) => ({ ...cut, acknowledged: toNow(model) })),
  },
  'a block of the change set is forgotten': {
    source: (model) =>
      changed(model, async (cut) => ({
        ...cut,
        changed: cut.changed === 'compare' ? cut.changed : [...cut.changed].slice(1),
      })),
  },
  'data is acknowledged before it is durable': { provider: (env) => withoutSync(env, '/journal-') },
  'the state file is not forced': { provider: (env) => withoutSync(env, 'replica.json') },
  'nobody waits for the sync of the journal': {
    plant: () => {
      const original = Journal.prototype.durable;
      return replaced(Journal.prototype, 'durable', function (this: Journal) {
        return Promise.race([original.call(this), Promise.resolve()]);
      });
    },
  },
  'an old journal is dropped with the new one': {
    plant: () => {
      const { freeze } = Layers.prototype;
      return replaced(Layers.prototype, 'freeze', async function (this: Layers) {
        const frozen = await freeze.call(this);
        return { ...frozen, layers: frozen.layers.map((layer) => ({ ...layer, pieces: [] })) };
      });
    },
  },
  'an older replica is taken for the one that the agent knew': {
    goesBack: true,
    source: (model) =>
      withCut(model, (held) => {
        const known = Math.max(held.epoch, model.cursor?.epoch ?? 0);
        return model.cut({ ...held, epoch: known });
      }),
  },
  'the members of a group are committed one by one': {
    isGroup: true,
    plant: () =>
      replaced(Provider.prototype, 'commit', async (all) => {
        for (const { replica, commit } of all) if (!(await replica.commit(commit))) return false;
        return true;
      }),
  },
  'what is ready counts without the decision of its group': {
    isGroup: true,
    plant: () => replaced(Decisions.prototype, 'isDecided', async () => true),
  },
  'the decision of a group is not forced': {
    isGroup: true,
    provider: (env) => withoutSync(env, '/groups/'),
  },
};

/** A source whose cuts are made otherwise. */
function changed(
  model: TrackedModel,
  change: (cut: CutEpoch, held: Held) => Promise<CutEpoch>,
): EpochSource {
  return withCut(model, async (held) => {
    const cut = await model.cut(held);
    return cut && change(cut, held);
  });
}

function withCut(model: TrackedModel, cut: EpochSource['cut']): EpochSource {
  return { sizeBytes: model.sizeBytes, cut };
}

/** Some reads are made from the volume itself, which goes on being written. */
function live(model: TrackedModel, device: Device, count = Infinity): Device {
  let left = count;
  return new Proxy(device, {
    get(target, key) {
      if (key === 'read') {
        return async (bytes: Uint8Array, offsetBytes: number) => {
          await target.read(bytes, offsetBytes);
          left -= 1;
          if (left < 0) return;
          bytes.set(model.content.subarray(offsetBytes, offsetBytes + bytes.byteLength));
        };
      }
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function toNow(model: TrackedModel): CutEpoch['acknowledged'] {
  return async (held) => {
    model.cursor = { ...held, count: model.count };
    model.acknowledged = model.cuts.length - 1;
  };
}

/** Files with `part` in their path say that they are durable, and are not. */
export function withoutSync(env: Env, part: string): Env {
  const open: Env['files']['open'] = async (path, mode, options) => {
    const file = await env.files.open(path, mode, options);
    if (!path.includes(part)) return file;
    return new Proxy(file, {
      get(target: OpenFile, key) {
        if (key === 'sync') return async () => undefined;
        const value = Reflect.get(target, key, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
  return { ...env, files: { ...env.files, open } };
}

export function replaced<T extends object, K extends keyof T>(
  prototype: T,
  key: K,
  method: T[K],
): () => void {
  const original = prototype[key];
  prototype[key] = method;
  return () => {
    prototype[key] = original;
  };
}
