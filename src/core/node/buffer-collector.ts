/**
 * Keeps a thread's dead buffers from piling up: V8 lets memory outside its heap grow by 64 MiB
 * before it collects, in each thread, and a codec makes half a megabyte of it per call.
 */
import v8 from 'node:v8';
import vm from 'node:vm';

/**
 * A collection of such a small heap takes 5 to 10 ms; a codec makes this much in 50 ms.
 */
const DEAD_BYTES_MAX = 8 * 1024 * 1024;

/** Asking costs tens of microseconds: not after every message. */
const CALLS_PER_LOOK = 4;

function collector(): () => void {
  v8.setFlagsFromString('--expose-gc');
  return vm.runInNewContext('gc') as () => void;
}

/** Frees dead buffers now. Shared ones bring on no collection, however many there are. */
export function collectBuffers(): void {
  collector()();
}

/** Returns what to call now and then; it collects once enough buffers may be dead. */
export function bufferCollector(): () => void {
  const collect = collector();
  let live = externalBytes();
  let calls = 0;
  return () => {
    calls++;
    if (calls % CALLS_PER_LOOK !== 0) return;
    if (externalBytes() - live < DEAD_BYTES_MAX) return;
    collect();
    live = externalBytes();
  };
}

/** What buffers take, and little else; `process.memoryUsage` asks the kernel as well. */
function externalBytes(): number {
  return v8.getHeapStatistics().external_memory;
}
