/** Waits for several answers of devices as one. */
import type { Answer } from './device.ts';

/**
 * Makes the calls in their order and settles when all of them have: a failure is told only after
 * the last access to the buffers that the others were given. Stays synchronous where they do.
 */
export function allOf(calls: Iterable<() => Answer>): Answer {
  const pending: Promise<void>[] = [];
  for (const call of calls) {
    try {
      const answer = call();
      if (answer instanceof Promise) pending.push(answer);
    } catch (error) {
      if (pending.length === 0) throw error;
      pending.push(Promise.reject(error));
      break;
    }
  }
  return pending.length === 0 ? undefined : settled(pending);
}

async function settled(pending: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(pending)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
