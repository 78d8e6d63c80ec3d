/** A loop in place of recursion, for steps that may ask for themselves again. */

/** Calls `step`; if it, or what it calls, asks meanwhile, once more after it has returned. */
export function looped(step: () => void): () => void {
  let isAsked = false;
  let isRunning = false;
  return () => {
    isAsked = true;
    if (isRunning) return;
    isRunning = true;
    try {
      while (isAsked) {
        isAsked = false;
        step();
      }
    } finally {
      isRunning = false;
    }
  };
}
