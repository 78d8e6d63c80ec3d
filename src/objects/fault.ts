/** Fault store, for tests: fails chosen calls of another store, before or after their effect. */
import {
  ObjectError,
  type ObjectErrorCode,
  type ObjectStore,
  type ObjectWriter,
} from './object-store.ts';

export type StoreOperation =
  | 'get'
  | 'get-range'
  | 'size'
  | 'put'
  | 'create'
  | 'append'
  | 'commit'
  | 'list'
  | 'remove';

export type StoreCall = {
  /** Counted from 1 over all calls of the store, its writers' included. */
  readonly number: number;
  readonly operation: StoreOperation;
  readonly key: string;
};

export type StoreFault = {
  readonly code: ObjectErrorCode;
  /** The call takes effect, then its answer is lost: an error is reported all the same. */
  readonly applied?: boolean;
};

/** Decides about each call; undefined lets it pass. */
export type StoreFaultPlan = (call: StoreCall) => StoreFault | undefined;

/** Fails the call with that number only: for "fail the Nth call, N = 1, 2, ... until it works". */
export function failNth(number: number, fault: StoreFault): StoreFaultPlan {
  return (call) => (call.number === number ? fault : undefined);
}

/** Adopts `inner`: disposing one disposes the other. */
export function faultStore(inner: ObjectStore, plan: StoreFaultPlan): ObjectStore {
  let callCount = 0;

  async function judged<T>(
    operation: StoreOperation,
    key: string,
    run: () => Promise<T>,
  ): Promise<T> {
    const fault = plan({ number: ++callCount, operation, key });
    if (fault === undefined) return run();
    if (fault.applied === true) await run();
    throw new ObjectError(fault.code, `${inner.name}: ${operation} ${key} fails as planned`, {
      hint: 'This failure was asked for.',
    });
  }

  function judgedWriter(key: string, writer: ObjectWriter): ObjectWriter {
    const { readBack } = writer;
    return {
      append: (bytes) => judged('append', key, () => writer.append(bytes)),
      ...(readBack !== undefined && {
        readBack: (target: Uint8Array, offsetBytes: number) =>
          judged('get-range', key, () => readBack(target, offsetBytes)),
      }),
      commit: () => judged('commit', key, () => writer.commit()),
      [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
    };
  }

  return {
    name: `fault(${inner.name})`,
    get: (key, bytesMax) => judged('get', key, () => inner.get(key, bytesMax)),
    getRange: (key, target, offsetBytes, use) =>
      judged('get-range', key, () => inner.getRange(key, target, offsetBytes, use)),
    size: (key) => judged('size', key, () => inner.size(key)),
    putIfAbsent: (key, bytes) => judged('put', key, () => inner.putIfAbsent(key, bytes)),
    create: async (key) => judgedWriter(key, await judged('create', key, () => inner.create(key))),
    async *list(prefix, after) {
      await judged('list', prefix, async () => undefined);
      yield* inner.list(prefix, after);
    },
    ...(inner.settle !== undefined && { settle: (key: string) => inner.settle!(key) }),
    remove: (key) => judged('remove', key, () => inner.remove(key)),
    ...(inner.locks !== undefined && { locks: inner.locks }),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}
