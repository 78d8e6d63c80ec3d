/** Tries a read of packs again where it met damage that can be put right. */
import { FerryError } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';

/** A store that is away, or a thread that dies, says nothing about the bytes. */
export function mayBeDamage(error: unknown): boolean {
  if (!(error instanceof FerryError) || error.code === 'CODEC_WORKER') return false;
  return /^(CODEC_|FORMAT_|STORE_DAMAGED$|OBJECT_IO$)/.test(error.code);
}

/** What `read` gives; if it meets damage in `key` that the store can heal, by a second try. */
export async function healing<T>(
  objects: ObjectStore,
  key: string,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!mayBeDamage(error) || !(await objects.heal?.(key))) throw error;
    return await read();
  }
}
