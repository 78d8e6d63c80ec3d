/** Waiting for a time, or until nobody wants it any more. */
import type { Env, TimerOptions } from './env.ts';

/** Resolves after `delayMs`, or at once when `signal` is aborted. */
export function pause(
  { clock }: Pick<Env, 'clock'>,
  delayMs: number,
  signal: AbortSignal | undefined,
  options?: TimerOptions,
): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(delayMs, end, options);
    signal?.addEventListener('abort', end, { once: true });
  });
}
