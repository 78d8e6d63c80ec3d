/**
 * Loaded before the tests (`--import`): a process that exits does not wait for V8's threads, which
 * now and then never end (nodejs/node issue 54918; docs/decisions/test-hooks.md).
 */
import { createRequire, flushCompileCache } from 'node:module';
import { isMainThread } from 'node:worker_threads';

// What process.exit() calls when the listeners of `exit` have been told.
if (isMainThread) process.reallyExit = endAtOnce;

function endAtOnce(code) {
  flushCompileCache();
  const koffi = createRequire(import.meta.url)('koffi');
  koffi.load(null).func('void _exit(int)')(code ?? 0);
}
