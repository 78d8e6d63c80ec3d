/** Reads damaged packs as they were written, as far as their parity reaches. */
import { FerryError } from '../core/index.ts';
import type { ObjectStore, RangeUse } from '../objects/index.ts';
import { HEALED_PACKS_MAX } from './limits.ts';
import { mendPack } from './mend-pack.ts';
import { packKey } from './pack-file.ts';

/** Told once for each pack that is read with the help of its parity. */
export type OnHealed = (key: string, mendedBytes: number) => void;

type Patch = { readonly at: number; readonly bytes: Uint8Array };
type Healed = { readonly sizeBytes: number; readonly patches: readonly Patch[] };

/** Adopts `inner`. Nothing is compared before somebody has met damage and calls `heal`. */
export function healingStore(inner: ObjectStore, onHealed?: OnHealed): ObjectStore {
  const packs = new Map<string, Promise<Healed | undefined>>();
  /** One at a time: each needs the memory of a whole pack. */
  let turn: Promise<unknown> = Promise.resolve();

  async function mend(key: string): Promise<Healed | undefined> {
    const packId = key.slice(key.lastIndexOf('/') + 1);
    if (key !== packKey(packId)) return undefined;
    try {
      const { bytes, mended } = await mendPack(inner, packId);
      const patches = mended.map(({ at, lengthBytes }) => ({
        at,
        bytes: bytes.slice(at, at + lengthBytes),
      }));
      const mendedBytes = patches.reduce((sum, patch) => sum + patch.bytes.byteLength, 0);
      if (mendedBytes === 0) return undefined;
      onHealed?.(key, mendedBytes);
      return { sizeBytes: bytes.byteLength, patches };
    } catch (error) {
      // Whoever met the damage tells it.
      if (error instanceof FerryError) return undefined;
      throw error;
    }
  }

  function mendInTurn(key: string): Promise<Healed | undefined> {
    const known = packs.get(key);
    if (known !== undefined) return known;
    const mending = turn.then(() => mend(key));
    turn = mending.catch(() => undefined);
    packs.set(key, mending);
    if (packs.size > HEALED_PACKS_MAX) packs.delete(packs.keys().next().value!);
    return mending;
  }

  async function getRange(key: string, target: Uint8Array, offsetBytes: number, use?: RangeUse) {
    const healed = await packs.get(key);
    if (healed === undefined) return inner.getRange(key, target, offsetBytes, use);
    const end = offsetBytes + target.byteLength;
    let from = offsetBytes;
    for (const { at, bytes } of healed.patches) {
      if (at + bytes.byteLength <= from || at >= end) continue;
      if (at > from) await part(key, target, { from, to: at, offsetBytes, use });
      const begin = Math.max(at, from);
      const stop = Math.min(at + bytes.byteLength, end);
      target.set(bytes.subarray(begin - at, stop - at), begin - offsetBytes);
      from = stop;
    }
    if (from < end) await part(key, target, { from, to: end, offsetBytes, use });
  }

  type Part = { from: number; to: number; offsetBytes: number; use: RangeUse | undefined };

  function part(key: string, target: Uint8Array, { from, to, offsetBytes, use }: Part) {
    return inner.getRange(key, target.subarray(from - offsetBytes, to - offsetBytes), from, use);
  }

  return {
    name: inner.name,
    ...(inner.readsInFlight !== undefined && { readsInFlight: inner.readsInFlight }),
    get: (key, bytesMax) => inner.get(key, bytesMax),
    getRange,
    size: async (key) => (await packs.get(key))?.sizeBytes ?? inner.size(key),
    putIfAbsent: (key, bytes) => inner.putIfAbsent(key, bytes),
    create: (key) => inner.create(key),
    list: (prefix, after) => inner.list(prefix, after),
    ...(inner.settle !== undefined && { settle: (key: string) => inner.settle!(key) }),
    remove: (key) => inner.remove(key),
    ...(inner.locks !== undefined && { locks: inner.locks }),
    heal: async (key) => (await mendInTurn(key)) !== undefined,
    async [Symbol.asyncDispose]() {
      await inner[Symbol.asyncDispose]();
    },
  };
}
