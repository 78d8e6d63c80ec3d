/** What a torture trial knows of a repository: which snapshots must be there, and their bytes. */
import { createHash } from 'node:crypto';
import type { Draws } from '../../../sim/index.ts';

/** What a volume held at one moment; behind `bytes` there is a hole. Never changed. */
export type Version = {
  readonly volume: string;
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
};

export class Model {
  /** What the volumes hold now. */
  readonly volumes = new Map<string, Version>();
  /** Snapshots whose commit was told. */
  readonly kept = new Map<string, Version>();
  /** Backups that were begun and whose end was not told: each may be there, and need not. */
  readonly pending = new Set<Version>();
  /** The same for forgetting: these need not be there. */
  readonly leaving = new Set<string>();
  /** Snapshots that were forgotten, which was told. */
  readonly gone = new Set<string>();

  copy(): Model {
    const copy = new Model();
    for (const [volume, version] of this.volumes) copy.volumes.set(volume, version);
    for (const [id, version] of this.kept) copy.kept.set(id, version);
    for (const version of this.pending) copy.pending.add(version);
    for (const id of this.leaving) copy.leaving.add(id);
    for (const id of this.gone) copy.gone.add(id);
    return copy;
  }
}

/** How large contents are, and of how many bytes a chunk is. */
export type Shape = {
  readonly contentBytesMax: number;
  readonly chunkBytes: number;
  /** The volume's size, if it is not that of its content. */
  readonly sizeBytes?: number;
};

export function noise(lengthBytes: number, seed: number): Uint8Array {
  return new Uint8Array(
    createHash('shake256', { outputLength: Math.max(1, lengthBytes) })
      .update(`${seed}`)
      .digest(),
  ).subarray(0, lengthBytes);
}

/**
 * The next content of a volume: new, or the last one with changes of every kind that the store
 * treats in its own way - noise, small ones, chunks of other versions and volumes, zeroes, another
 * size, what was there before.
 */
export function changed(model: Model, volume: string, shape: Shape, draws: Draws): Version {
  const before = model.volumes.get(volume);
  const others = [...model.kept.values(), ...model.volumes.values()];
  if (before !== undefined && draws.chance(0.1)) return { ...draws.pick(others), volume };
  const lengthBytes =
    before === undefined || draws.chance(0.2)
      ? 1 + draws.below(shape.contentBytesMax)
      : before.bytes.byteLength;
  const bytes = new Uint8Array(lengthBytes);
  if (before === undefined) bytes.set(noise(lengthBytes, draws.below(2 ** 32)));
  else bytes.set(before.bytes.subarray(0, lengthBytes));
  const changes = 1 + draws.below(6);
  for (let change = 0; change < changes; change++) changePart(bytes, others, shape, draws);
  return { volume, sizeBytes: shape.sizeBytes ?? lengthBytes, bytes };
}

function changePart(
  bytes: Uint8Array,
  others: readonly Version[],
  { chunkBytes }: Shape,
  draws: Draws,
): void {
  const chunk = draws.below(Math.ceil(bytes.byteLength / chunkBytes));
  const part = bytes.subarray(chunk * chunkBytes, (chunk + 1 + draws.below(6)) * chunkBytes);
  const kind = draws.below(10);
  if (kind < 3) part.set(noise(part.byteLength, draws.below(2 ** 32)));
  else if (kind < 7 || others.length === 0) {
    for (let at = 0; at < part.byteLength; at += chunkBytes) {
      part[at + draws.below(Math.min(chunkBytes, part.byteLength - at))] = draws.below(256);
    }
  } else if (kind < 9) {
    const from = draws.pick(others).bytes;
    const start = draws.below(Math.ceil(from.byteLength / chunkBytes)) * chunkBytes;
    part.set(from.subarray(start, start + part.byteLength));
  } else part.fill(0);
}
