/** Workers that run in this process: messages are cloned and arrive in seeded order. */
import {
  EnvError,
  type ServeWorker,
  type WorkerHandlers,
  type WorkerPort,
  type Workers,
} from '../src/core/index.ts';
import type { SimulatedProcess } from './process.ts';

/** Thread pools answer within this, usually. */
const DELAY_MS = 1;
/** Two messages of one channel never change places. */
const SPACING_MS = 0.001;

export function simulatedWorkers(process: SimulatedProcess, parallelism: number): Workers {
  let count = 0;
  return {
    parallelism,
    start: (module, handlers) => start(process, `worker${++count}`, module, handlers),
  };
}

function start(
  process: SimulatedProcess,
  name: string,
  module: URL,
  handlers: WorkerHandlers,
): WorkerPort {
  let alive = true;
  let handle: ((message: unknown) => void) | undefined;

  const toOwner = lane(process, `${name} answers`);
  const toWorker = lane(process, `${name} is asked`);

  /** The news of a death comes after what the worker had answered, as from a thread. */
  function fail(cause: unknown): void {
    handle = undefined;
    toOwner(() => {
      if (!alive) return;
      alive = false;
      handlers.onError(
        new EnvError('ENV_WORKER', `the simulated ${name} failed: ${String(cause)}`, {
          hint: 'This is a defect of the worker module.',
          cause,
        }),
      );
    });
  }

  function answer(message: unknown): void {
    const copy: unknown = structuredClone(message);
    toOwner(() => {
      if (alive) handlers.onMessage(copy);
    });
  }

  function ask(message: unknown): void {
    const copy: unknown = structuredClone(message);
    toWorker(() => {
      if (!alive) return;
      try {
        handle?.(copy);
      } catch (error) {
        fail(error);
      }
    });
  }

  const loading = load(module).then((serve) => {
    handle = serve(answer);
  });
  process.waitFor(loading.catch(fail));
  return {
    post: ask,
    terminate: () =>
      new Promise((resolve) => {
        alive = false;
        process.schedule(DELAY_MS, `${name} is terminated`, resolve);
      }),
  };
}

async function load(module: URL): Promise<ServeWorker> {
  const { serve } = (await import(module.href)) as { serve: ServeWorker };
  return serve;
}

/** One direction of a channel: what is handed over runs later, in the order of handing over. */
function lane(process: SimulatedProcess, label: string): (arrive: () => void) => void {
  let lastMs = 0;
  return (arrive) => {
    const wantedMs = process.nowMs + DELAY_MS * process.draws().unit();
    lastMs = Math.max(wantedMs, lastMs + SPACING_MS);
    process.schedule(lastMs - process.nowMs, label, arrive);
  };
}
