/** The host's clocks and timers. */
import { uptime } from 'node:os';
import type { Clock, Timer } from '../env.ts';
import { TIMER_DELAY_MAX_MS } from '../limits.ts';

export function nodeClock(): Clock {
  return {
    monotonicMs: () => performance.now(),
    // CLOCK_BOOTTIME, by /proc/uptime; performance.now stands still in a suspended host.
    bootMs: () => 1000 * uptime(),
    wallMs: () => Date.now(),
    after(delayMs, run, { keepsProcess = false } = {}) {
      if (delayMs <= 0) return afterTurn(run);
      let timer: NodeJS.Timeout;
      let leftMs = delayMs;
      function arm(): void {
        const stepMs = Math.min(leftMs, TIMER_DELAY_MAX_MS);
        leftMs -= stepMs;
        timer = setTimeout(() => (leftMs > 0 ? arm() : run()), stepMs);
        if (!keepsProcess) timer.unref();
      }
      arm();
      return { cancel: () => clearTimeout(timer) };
    },
  };
}

/** A timer would wait for a millisecond at least; for one turn a process may as well be kept. */
function afterTurn(run: () => void): Timer {
  const turn = setImmediate(run);
  return { cancel: () => clearImmediate(turn) };
}
