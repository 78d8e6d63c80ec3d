/** Runs a continuation for an answer that is there already, or that comes as a promise. */

/**
 * Calls `ok` synchronously when `answer` is a plain value, later when it is a promise; `fail` takes
 * rejections. A throw of the callee is the caller's to catch around the call that made the answer:
 * `attempt` does both.
 */
export function settle<T>(
  answer: T | Promise<T>,
  ok: (value: T) => void,
  fail: (error: unknown) => void,
): void {
  if (answer instanceof Promise) answer.then(ok, fail);
  else ok(answer);
}

/**
 * Makes the call and takes its answer: exactly one of `ok` and `fail` is called, once. What `ok`
 * itself throws never reaches `fail`: it would report one request twice.
 */
export function attempt<T>(
  call: () => T | Promise<T>,
  ok: (value: T) => void,
  fail: (error: unknown) => void,
): void {
  let answer: T | Promise<T>;
  try {
    answer = call();
  } catch (error) {
    fail(error);
    return;
  }
  settle(answer, ok, fail);
}
