/** Pins: readers that announce themselves, so that what they read stays. */
import type { Env } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import type { SealedObjects } from './sealer.ts';
import { type Pin, Session } from './session.ts';

export type Announced = Pin & { readonly generation: number };

/** Undefined where nothing can be written: the reader goes without. */
export async function tryPin(
  env: Env,
  objects: SealedObjects,
  { generation, ...pin }: Announced,
): Promise<AsyncDisposable | undefined> {
  let session: Session;
  try {
    session = await Session.begin(env, objects, '', generation, pin);
  } catch (error) {
    if (error instanceof ObjectError) return undefined;
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      try {
        await session.end();
      } catch (error) {
        // Its lock is free, or it changes no more: garbage collection removes it.
        if (!(error instanceof ObjectError)) throw error;
      }
    },
  };
}
