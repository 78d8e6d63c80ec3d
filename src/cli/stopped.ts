/** For commands that go on until they are told to stop. */

/** Resolves when `signal` is aborted, which it may be already. */
export function stopped(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
