/** A device that several threads serve at once: order between them, and one fate of its flushes. */
import {
  type Answer,
  checkRange,
  type Device,
  DeviceError,
  type DeviceExtent,
  FUA,
} from '../../device/index.ts';
import { newStripes, releaseStripes, Stripes } from './stripes.ts';

/** What the threads that serve one device share; survives a thread. */
export type DeviceMemory = {
  readonly stripes: SharedArrayBuffer;
  /** One word: whether a flush has failed. */
  readonly health: SharedArrayBuffer;
};

export function newDeviceMemory(): DeviceMemory {
  return {
    stripes: newStripes(),
    health: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT),
  };
}

/** Gives back what a dead thread held. Its transfers must have ended. */
export function releaseThread(memory: DeviceMemory, thread: number): void {
  releaseStripes(memory.stripes, thread);
}

const HEALTHY = 0;
const FLUSH_FAILED = 1;

/**
 * Requests of different threads that overlap do not interleave, those of one thread are its range
 * lock's concern. After a flush that failed on one thread every later one fails on all: the kernel
 * reports a lost page once per descriptor, and who asks later must hear of it too. `device` takes
 * any range, so that reading, changing and writing back happen inside the lock.
 */
export function guarded(device: Device, memory: DeviceMemory, thread: number): Device {
  const stripes = new Stripes(memory.stripes, thread);
  const health = new Int32Array(memory.health);

  function checkHealth(): void {
    if (Atomics.load(health, 0) === HEALTHY) return;
    throw new DeviceError('DEVICE_FLUSH_FAILED', `${device.name}: an earlier flush failed`, {
      hint: 'Find the cause, start the server again and check what the last writes left.',
    });
  }

  function failed(error: unknown): never {
    Atomics.store(health, 0, FLUSH_FAILED);
    throw error;
  }

  function flush(): Answer {
    checkHealth();
    let answer: Answer;
    try {
      answer = device.flush();
    } catch (error) {
      failed(error);
    }
    if (answer instanceof Promise) return answer.then(checkHealth, failed);
    return checkHealth();
  }

  /** Takes the stripes, calls, and gives them back when the call has settled. */
  function inside<T>(
    lengthBytes: number,
    offsetBytes: number,
    writes: boolean,
    call: () => Answer<T>,
  ): Answer<T> {
    if (!stripes.tryEnter(offsetBytes, lengthBytes, writes)) {
      return stripes
        .enter(offsetBytes, lengthBytes, writes)
        .then(call)
        .finally(() => stripes.leave(offsetBytes, lengthBytes));
    }
    let answer: Answer<T>;
    try {
      answer = call();
    } catch (error) {
      stripes.leave(offsetBytes, lengthBytes);
      throw error;
    }
    if (answer instanceof Promise) {
      return answer.finally(() => stripes.leave(offsetBytes, lengthBytes));
    }
    stripes.leave(offsetBytes, lengthBytes);
    return answer;
  }

  /** Durability is asked for when the stripes are free again: others need not wait for the disk. */
  function change(
    lengthBytes: number,
    offsetBytes: number,
    flags: number,
    call: (flags: number) => Answer,
  ): Answer {
    const answer = inside(lengthBytes, offsetBytes, true, () => call(flags & ~FUA));
    if ((flags & FUA) === 0) return answer;
    return answer instanceof Promise ? answer.then(flush) : flush();
  }

  const guard: Device = {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: device.blockSizes,
    readOnly: device.readOnly,
    get hints() {
      return device.hints;
    },
    durable: device.durable,
    read(target, offsetBytes) {
      checkRange(guard, target.byteLength, offsetBytes);
      const lengthBytes = target.byteLength;
      if (!stripes.tryEnter(offsetBytes, lengthBytes, false)) {
        return inside(lengthBytes, offsetBytes, false, () => device.read(target, offsetBytes));
      }
      // As `inside` does it, without a closure: most requests end here.
      let answer: Answer | undefined;
      try {
        answer = device.read(target, offsetBytes);
      } finally {
        if (!(answer instanceof Promise)) stripes.leave(offsetBytes, lengthBytes);
      }
      if (!(answer instanceof Promise)) return undefined;
      return answer.finally(() => stripes.leave(offsetBytes, lengthBytes));
    },
    write(source, offsetBytes, flags) {
      checkRange(guard, source.byteLength, offsetBytes);
      return change(source.byteLength, offsetBytes, flags, (rest) =>
        device.write(source, offsetBytes, rest),
      );
    },
    writeAtOnce(source, offsetBytes) {
      checkRange(guard, source.byteLength, offsetBytes);
      if (!stripes.tryEnter(offsetBytes, source.byteLength, true)) return false;
      try {
        if (device.settlesAtOnce !== true) {
          return device.writeAtOnce?.(source, offsetBytes) === true;
        }
        void device.write(source, offsetBytes, 0);
        return true;
      } finally {
        stripes.leave(offsetBytes, source.byteLength);
      }
    },
    flush,
    zero(lengthBytes, offsetBytes, flags) {
      checkRange(guard, lengthBytes, offsetBytes);
      return change(lengthBytes, offsetBytes, flags, (rest) =>
        device.zero(lengthBytes, offsetBytes, rest),
      );
    },
    trim(lengthBytes, offsetBytes, flags) {
      checkRange(guard, lengthBytes, offsetBytes);
      return change(lengthBytes, offsetBytes, flags, (rest) =>
        device.trim(lengthBytes, offsetBytes, rest),
      );
    },
    extents(lengthBytes, offsetBytes, limit): Answer<DeviceExtent[]> {
      checkRange(guard, lengthBytes, offsetBytes);
      return inside(lengthBytes, offsetBytes, false, () =>
        device.extents(lengthBytes, offsetBytes, limit),
      );
    },
    async [Symbol.asyncDispose]() {},
  };
  return guard;
}
