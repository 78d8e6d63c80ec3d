/** What every worker thread runs first: imports its module and connects it to the thread's port. */
import assert from 'node:assert/strict';
import { getPriority, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import type { ServeWorker } from '../env.ts';
import { bufferCollector } from './buffer-collector.ts';
import type { WorkerOrders } from './workers.ts';

assert(parentPort !== null, 'this module runs only as a worker thread');
const port = parentPort;
const NICENESS_MAX = 19;
const { module, niceness } = workerData as WorkerOrders;
// To Linux a thread is what to others is a process: only there it is about this one alone. It has
// the niceness of the whole, which may be more already, and may not be lowered.
if (niceness !== undefined && process.platform === 'linux') {
  setPriority(Math.min(NICENESS_MAX, getPriority() + niceness));
}
const { serve } = (await import(module)) as { serve: ServeWorker };
const onMessage = serve((message) => port.postMessage(message));
// Messages that came before wait in the port until somebody listens.
const collectBuffers = bufferCollector();
port.on('message', (message: unknown) => {
  onMessage(message);
  collectBuffers();
});
