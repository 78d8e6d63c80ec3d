/** Memory object store: the smallest real ObjectStore, for tests and the simulated world. */
import assert from 'node:assert/strict';
import { existsError, notFoundError, rangeError, tooLargeError } from './object-errors.ts';
import { checkObjectName, checkPrefix } from './object-name.ts';
import type { ObjectStore, ObjectWriter } from './object-store.ts';

export function memoryStore(name: string): ObjectStore {
  const objects = new Map<string, Uint8Array>();
  const storeName = `memory:${name}`;

  function find(key: string): Uint8Array {
    checkObjectName(key);
    const bytes = objects.get(key);
    if (bytes === undefined) throw notFoundError(storeName, key);
    return bytes;
  }

  /** Adopts `bytes`. */
  function add(key: string, bytes: Uint8Array): void {
    if (objects.has(key)) throw existsError(storeName, key);
    objects.set(key, bytes);
  }

  function writer(key: string): ObjectWriter {
    const parts: Uint8Array[] = [];
    let open = true;
    return {
      async append(bytes) {
        assert(open, `${key}: append after the end`);
        parts.push(new Uint8Array(bytes));
      },
      async readBack(target, offsetBytes) {
        if (!open) return false;
        const written = Buffer.concat(parts);
        const end = offsetBytes + target.byteLength;
        assert(end <= written.byteLength, `${key}: read back behind its end`);
        target.set(written.subarray(offsetBytes, end));
        return true;
      },
      async commit() {
        assert(open, `${key}: committed twice`);
        open = false;
        add(key, new Uint8Array(Buffer.concat(parts)));
      },
      async [Symbol.asyncDispose]() {
        open = false;
        parts.length = 0;
      },
    };
  }

  return {
    name: storeName,
    async get(key, bytesMax) {
      const bytes = find(key);
      if (bytes.byteLength > bytesMax) {
        throw tooLargeError(storeName, key, { sizeBytes: bytes.byteLength, bytesMax });
      }
      return new Uint8Array(bytes);
    },
    async getRange(key, target, offsetBytes) {
      assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, `bad offset: ${offsetBytes}`);
      const bytes = find(key);
      const wanted = { offsetBytes, lengthBytes: target.byteLength };
      if (offsetBytes + target.byteLength > bytes.byteLength) {
        throw rangeError(storeName, key, wanted);
      }
      target.set(bytes.subarray(offsetBytes, offsetBytes + target.byteLength));
    },
    size: async (key) => find(key).byteLength,
    async putIfAbsent(key, bytes) {
      checkObjectName(key);
      add(key, new Uint8Array(bytes));
    },
    async create(key) {
      checkObjectName(key);
      return writer(key);
    },
    async *list(prefix, after = '') {
      checkPrefix(prefix);
      if (after !== '') checkObjectName(after);
      const fits = (key: string) => key.startsWith(prefix) && key > after;
      const keys = [...objects.keys()].filter(fits).sort();
      for (const key of keys) {
        const bytes = objects.get(key);
        if (bytes !== undefined) yield { key, sizeBytes: bytes.byteLength };
      }
    },
    async remove(key) {
      checkObjectName(key);
      objects.delete(key);
    },
    async [Symbol.asyncDispose]() {},
  };
}
