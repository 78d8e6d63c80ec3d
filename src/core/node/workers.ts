/** Worker threads: each runs this folder's bootstrap module, which imports the one asked for. */
import { getCompileCacheDir } from 'node:module';
import os from 'node:os';
import { dirname } from 'node:path';
import type { WorkerHandlers, WorkerOptions, WorkerPort, Workers } from '../env.ts';
import { EnvError } from '../errors.ts';
import { siblingModule } from '../sibling-module.ts';
import { collectBuffers } from './buffer-collector.ts';
import { returnLargeMemory } from './large-memory.ts';

export function nodeWorkers(): Workers {
  const parallelism = os.availableParallelism();
  return { parallelism, start, reclaim: collectBuffers, returnLargeMemory };
}

/** What the bootstrap is told. */
export type WorkerOrders = { readonly module: string; readonly niceness: number | undefined };

function start(module: URL, handlers: WorkerHandlers, options: WorkerOptions = {}): WorkerPort {
  // Not imported above: most commands never start a thread.
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  const bootstrap = siblingModule(import.meta.url, 'worker-bootstrap');
  const { youngMiB, niceness } = options;
  if (youngMiB !== undefined) endProcessBound();
  const worker = new Worker(bootstrap, {
    workerData: { module: module.href, niceness } satisfies WorkerOrders,
    ...withCompileCache(),
    ...(youngMiB !== undefined && { resourceLimits: { maxYoungGenerationSizeMb: youngMiB } }),
  });
  let over = false;

  function fail(message: string, cause?: unknown): void {
    if (over) return;
    over = true;
    handlers.onError(
      new EnvError('ENV_WORKER', `the worker ${baseName(module)} ${message}`, {
        hint: 'This is a defect or a lack of memory; run the command again.',
        cause,
      }),
    );
  }

  worker.on('message', (message: unknown) => {
    if (!over) handlers.onMessage(message);
  });
  worker.on('messageerror', (error) => {
    fail('sent a message that cannot be read', error);
    worker.terminate().catch(() => undefined);
  });
  worker.on('error', (error: Error) => fail(`failed: ${error.message}`, error));
  worker.on('exit', (code) => fail(`ended by itself, status ${code}`));
  return {
    post: (message) => worker.postMessage(message),
    terminate: async () => {
      over = true;
      await worker.terminate();
    },
  };
}

let isBoundEnded = false;

/** A bound that the process was started with (bin/ferry) overrides what threads ask for. */
function endProcessBound(): void {
  if (isBoundEnded) return;
  isBoundEnded = true;
  if (!process.execArgv.some((word) => word.startsWith('--max-semi-space-size'))) return;
  process.getBuiltinModule('node:v8').setFlagsFromString('--max-semi-space-size=0');
}

/** A thread takes part in the process's cache of compiled code only if its environment says so. */
function withCompileCache(): { env?: NodeJS.ProcessEnv } {
  const folder = getCompileCacheDir(); // Below the one that was asked for, named after this Node.
  if (folder === undefined) return {};
  return { env: { ...process.env, NODE_COMPILE_CACHE: dirname(folder) } };
}

function baseName(module: URL): string {
  return module.pathname.slice(module.pathname.lastIndexOf('/') + 1);
}
