/** Carries bytes between a server that speaks TLS and the kernel, which does not. */
import type { Clock, Stream, StreamHandlers } from '../../core/index.ts';
import { RELAY_GOODBYE_MS } from './limits.ts';

/**
 * Starts `near` and answers the handlers for `far`, which is started already. What one side sends
 * waits in the other's socket while that is full. When one side ends, the other gets what is under
 * way, and then its end; neither outlives the other for long.
 */
export function relay(clock: Clock, near: Stream, far: Stream): StreamHandlers {
  let isOver = false;
  const ends = (other: Stream) => () => {
    other.end();
    if (isOver) return;
    isOver = true;
    clock.after(
      RELAY_GOODBYE_MS,
      () => {
        near.destroy();
        far.destroy();
      },
      { keepsProcess: false },
    );
  };
  const carrying = (from: Stream, to: Stream): StreamHandlers => ({
    onBytes: (view) => {
      if (!to.write([view.slice()])) from.pause();
    },
    onDrained: () => to.resume(),
    onEnd: ends(to),
    onClosed: ends(to),
  });
  near.start(carrying(near, far));
  return carrying(far, near);
}
