/** Cached store: copies of what was read from a store far away lie in a folder of this host. */
import type { CacheFolder } from './cache-folder.ts';
import { CACHE_REMOVED_MAX } from './limits.ts';
import { checkObjectName } from './object-name.ts';
import type { ObjectStore } from './object-store.ts';

export type CachedOptions = {
  readonly folder: CacheFolder;
  /** Told apart from others of the folder by this. */
  readonly repositoryId: string;
  /** Only objects whose names are never given again: a copy outlives what it is a copy of. */
  readonly keeps: (key: string) => boolean;
  /**
   * Whether what came can be what was written. False: it is asked for once more. Only what is
   * surely whole is kept; undefined if that cannot be told.
   */
  readonly isWhole: (key: string, bytes: Uint8Array) => boolean | undefined;
};

/** Adopts `inner`. The folder may serve several stores. */
export function cachedStore(inner: ObjectStore, options: CachedOptions): ObjectStore {
  const { folder, repositoryId, isWhole } = options;
  const removed = new Set<string>();
  const keeps = (key: string) => options.keeps(key) && !removed.has(key);
  const nameOf = (key: string, part: string) => `${repositoryId}/${key} ${part}`;

  return {
    name: inner.name,
    ...(inner.readsInFlight !== undefined && { readsInFlight: inner.readsInFlight }),
    async get(key, bytesMax) {
      checkObjectName(key);
      if (!keeps(key)) return inner.get(key, bytesMax);
      const name = nameOf(key, 'all');
      const kept = await folder.find(name, bytesMax);
      if (kept !== undefined && kept.byteLength <= bytesMax) return kept;
      let bytes = await inner.get(key, bytesMax);
      if (isWhole(key, bytes) === false) bytes = await inner.get(key, bytesMax);
      if (isWhole(key, bytes) === true) folder.keep(name, bytes);
      return bytes;
    },
    async getRange(key, target, offsetBytes, use) {
      checkObjectName(key);
      if (!keeps(key)) return inner.getRange(key, target, offsetBytes);
      const name = nameOf(key, `${offsetBytes}+${target.byteLength}`);
      const kept = await folder.find(name, target.byteLength);
      if (kept?.byteLength === target.byteLength) {
        target.set(kept);
        return;
      }
      await inner.getRange(key, target, offsetBytes, use);
      if (isWhole(key, target) === false) await inner.getRange(key, target, offsetBytes, use);
      if (use !== 'once' && isWhole(key, target) === true) folder.keep(name, target);
    },
    // Whoever asks wants to know whether the object is still there.
    size: (key) => inner.size(key),
    putIfAbsent: (key, bytes) => inner.putIfAbsent(key, bytes),
    create: (key) => inner.create(key),
    list: (prefix, after) => inner.list(prefix, after),
    async remove(key) {
      if (removed.size >= CACHE_REMOVED_MAX) removed.clear();
      removed.add(key);
      await inner.remove(key);
    },
    async [Symbol.asyncDispose]() {
      await folder.settled();
      await inner[Symbol.asyncDispose]();
    },
  };
}
