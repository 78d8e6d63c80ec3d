/** For tests: an object store as several processes see it, each to be stopped or killed. */
import { memoryStore, ObjectError, type ObjectStore, type StoreLock } from '../../objects/index.ts';

/** What one process has of the store that all share. */
export type Process = {
  readonly objects: ObjectStore;
  /** Calls begun so far. */
  readonly calls: number;
  /** The call with this number, and all after it, wait until `resume`. */
  stopAt(call: number): void;
  /** The next put under a key that begins so waits until `resume`. */
  stopAtPut(prefix: string): void;
  readonly isStopped: boolean;
  resume(): void;
  /** Goes on, but whoever asks takes it for dead. */
  loseLocks(): void;
  /** Every call fails from now on; its locks are free. */
  kill(): void;
};

export type SharedStore = { readonly inner: ObjectStore; start(): Process };

export function sharedStore(name: string): SharedStore {
  const inner = memoryStore(name);
  const locks = new Map<string, object>();
  return { inner, start: () => startProcess(inner, locks) };
}

function startProcess(inner: ObjectStore, locks: Map<string, object>): Process {
  const self = {};
  let calls = 0;
  let dead = false;
  let stopCall = Number.POSITIVE_INFINITY;
  let stopPrefix: string | undefined;
  let stopped: (() => void)[] = [];

  async function call<T>(run: () => Promise<T>): Promise<T> {
    if (++calls >= stopCall) await new Promise<void>((wake) => stopped.push(wake));
    if (dead) throw new ObjectError('OBJECT_IO', 'the process is dead', { hint: '' });
    return run();
  }

  async function take(key: string): Promise<StoreLock | undefined> {
    if (dead || locks.has(key)) return undefined;
    locks.set(key, self);
    return {
      release: async () => {
        if (locks.get(key) === self) locks.delete(key);
      },
    };
  }

  return {
    objects: {
      name: inner.name,
      get: (key, bytesMax) => call(() => inner.get(key, bytesMax)),
      getRange: (key, target, at) => call(() => inner.getRange(key, target, at)),
      size: (key) => call(() => inner.size(key)),
      putIfAbsent: (key, bytes) => {
        if (stopPrefix !== undefined && key.startsWith(stopPrefix)) stopCall = 0;
        return call(() => inner.putIfAbsent(key, bytes));
      },
      async create(key) {
        const writer = await call(() => inner.create(key));
        return {
          append: (bytes) => writer.append(bytes),
          commit: () => call(() => writer.commit()),
          [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
        };
      },
      async *list(prefix, after) {
        await call(async () => undefined);
        yield* inner.list(prefix, after);
      },
      remove: (key) => call(() => inner.remove(key)),
      locks: { take, sweep: async () => ({ files: 0, bytes: 0 }) },
      async [Symbol.asyncDispose]() {},
    },
    get calls() {
      return calls;
    },
    stopAt(number) {
      stopCall = number;
    },
    stopAtPut(prefix) {
      stopPrefix = prefix;
    },
    get isStopped() {
      return stopped.length > 0;
    },
    resume() {
      stopPrefix = undefined;
      stopCall = Number.POSITIVE_INFINITY;
      const waiting = stopped;
      stopped = [];
      for (const wake of waiting) wake();
    },
    loseLocks() {
      for (const [key, holder] of locks) if (holder === self) locks.delete(key);
    },
    kill() {
      dead = true;
      this.loseLocks();
      this.resume();
    },
  };
}
