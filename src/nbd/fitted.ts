/** Lets clients that know nothing of block sizes use a device that has some. */
import { type Answer, type Device, FUA, prefetch } from '../device/index.ts';
import { PAYLOAD_BYTES_MAX } from './limits.ts';

/**
 * Takes any range: what is not whole blocks is read, changed and written back, what is longer than
 * the device permits is split. Two such calls that touch one block must not overlap: the server's
 * range lock, widened to blocks, sees to that. A device without limits is answered as it is.
 */
export function fitted(device: Device): Device {
  const { minimumBytes, maximumBytes } = device.blockSizes;
  if (minimumBytes === 1 && maximumBytes >= PAYLOAD_BYTES_MAX) return device;
  const stepBytes = Math.max(minimumBytes, maximumBytes - (maximumBytes % minimumBytes));
  const down = (value: number) => value - (value % minimumBytes);
  const up = (value: number) => Math.min(down(value + minimumBytes - 1), device.sizeBytes);
  const isWhole = (lengthBytes: number, offsetBytes: number) =>
    offsetBytes % minimumBytes === 0 && lengthBytes % minimumBytes === 0;

  async function readSplit(target: Uint8Array, offsetBytes: number): Promise<void> {
    for (let at = 0; at < target.byteLength; at += stepBytes) {
      await device.read(target.subarray(at, at + stepBytes), offsetBytes + at);
    }
  }

  async function writeSplit(source: Uint8Array, offsetBytes: number, flags: number): Promise<void> {
    for (let at = 0; at < source.byteLength; at += stepBytes) {
      await device.write(source.subarray(at, at + stepBytes), offsetBytes + at, flags);
    }
  }

  async function readPart(target: Uint8Array, offsetBytes: number): Promise<void> {
    const start = down(offsetBytes);
    const whole = new Uint8Array(up(offsetBytes + target.byteLength) - start);
    await readSplit(whole, start);
    target.set(whole.subarray(offsetBytes - start, offsetBytes - start + target.byteLength));
  }

  async function writePart(source: Uint8Array, offsetBytes: number, flags: number): Promise<void> {
    const start = down(offsetBytes);
    const end = offsetBytes + source.byteLength;
    const whole = new Uint8Array(up(end) - start);
    const lastStart = whole.byteLength - minimumBytes;
    await device.read(whole.subarray(0, minimumBytes), start);
    if (lastStart > 0) await device.read(whole.subarray(lastStart), start + lastStart);
    whole.set(source, offsetBytes - start);
    await writeSplit(whole, start, flags);
  }

  /**
   * Whole blocks inside the range are zeroed, and first: if that cannot be done fast, nothing may
   * have changed. The rest is written as zeroes.
   */
  async function zeroParts(lengthBytes: number, offsetBytes: number, flags: number): Promise<void> {
    const end = offsetBytes + lengthBytes;
    const first = Math.min(down(offsetBytes + minimumBytes - 1), end);
    const last = Math.max(down(end), first);
    if (last > first) await device.zero(last - first, first, flags);
    const force = flags & FUA;
    if (first > offsetBytes) {
      await writePart(new Uint8Array(first - offsetBytes), offsetBytes, force);
    }
    if (end > last) await writePart(new Uint8Array(end - last), last, force);
  }

  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: { ...device.blockSizes, minimumBytes: 1, maximumBytes: PAYLOAD_BYTES_MAX },
    readOnly: device.readOnly,
    hints: device.hints,
    durable: device.durable,
    read(target, offsetBytes) {
      if (!isWhole(target.byteLength, offsetBytes)) return readPart(target, offsetBytes);
      if (target.byteLength > maximumBytes) return readSplit(target, offsetBytes);
      return device.read(target, offsetBytes);
    },
    write(source, offsetBytes, flags) {
      if (!isWhole(source.byteLength, offsetBytes)) return writePart(source, offsetBytes, flags);
      if (source.byteLength > maximumBytes) return writeSplit(source, offsetBytes, flags);
      return device.write(source, offsetBytes, flags);
    },
    flush: () => device.flush(),
    zero(lengthBytes, offsetBytes, flags) {
      if (isWhole(lengthBytes, offsetBytes)) return device.zero(lengthBytes, offsetBytes, flags);
      return zeroParts(lengthBytes, offsetBytes, flags);
    },
    trim(lengthBytes, offsetBytes, flags) {
      const first = down(offsetBytes + minimumBytes - 1);
      const last = down(offsetBytes + lengthBytes);
      // What is left of a trim that covers no whole block is nothing.
      if (last <= first) return undefined;
      return device.trim(last - first, first, flags);
    },
    extents(lengthBytes, offsetBytes, limit): Answer<Awaited<ReturnType<Device['extents']>>> {
      if (isWhole(lengthBytes, offsetBytes)) {
        return device.extents(lengthBytes, offsetBytes, limit);
      }
      return partExtents(lengthBytes, offsetBytes, limit);
    },
    cache(lengthBytes, offsetBytes) {
      const start = down(offsetBytes);
      return prefetch(device, up(offsetBytes + lengthBytes) - start, start);
    },
    async [Symbol.asyncDispose]() {},
  };

  async function partExtents(lengthBytes: number, offsetBytes: number, limit: number) {
    const start = down(offsetBytes);
    const end = offsetBytes + lengthBytes;
    const extents = await device.extents(up(end) - start, start, limit);
    return extents.flatMap((extent) => {
      const from = Math.max(extent.offsetBytes, offsetBytes);
      const to = Math.min(extent.offsetBytes + extent.lengthBytes, end);
      return to > from ? [{ ...extent, offsetBytes: from, lengthBytes: to - from }] : [];
    });
  }
}
