/** New replica: what its folder begins with, and its name. */
import { type Env, sha256, toHex } from '../../../core/index.ts';
import { ReplicateError } from '../errors.ts';
import { Journal } from './journal.ts';
import type { LayersOptions } from './layers.ts';
import { originOf, type ReplicaState, writeReplicaState } from './replica-state.ts';

/** A new replica goes on from the newest snapshot of its name, if that is its own. */
export async function begin(env: Env, options: LayersOptions): Promise<ReplicaState> {
  const { directory, volume, owner, sizeBytes, repository } = options;
  const newest = repository.latest(volume);
  if (newest !== undefined && newest.origin !== originOf(owner)) {
    throw new ReplicateError('REPLICATE_VOLUME_TAKEN', `${volume} belongs to another source`, {
      hint: 'Replicate under another name (--name).',
    });
  }
  const journal = await Journal.create(env, pathOf(directory, 1), { volume, sizeBytes });
  await journal[Symbol.asyncDispose]();
  const state: ReplicaState = {
    ...{ volume, owner, sizeBytes, epoch: 0, journals: [1], replica: newId(env) },
    snapshot: newest?.id ?? null,
  };
  await writeReplicaState(env, directory, state);
  return state;
}

export function newId({ random }: Env): string {
  const id = new Uint8Array(16);
  random.fill(id);
  return toHex(id);
}

export function pathOf(directory: string, number: number): string {
  return `${directory}/journal-${number}`;
}

/** A name of the agent's choice makes no path here. */
export function replicaFolder(volume: string): string {
  return toHex(sha256(new TextEncoder().encode(volume))).slice(0, 32);
}
