/** Reading structures from a device by pointers that may point anywhere. */
import type { Device } from '../device/index.ts';
import { damaged, tooMuch } from './errors.ts';
import { Fields } from './fields.ts';
import { READ_BYTES_MAX } from './limits.ts';

/** A range of a device; `what` names the structure in errors. */
export type Place = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly what: string;
};

/** The bytes of a structure. FS_DAMAGED if it is not inside the device. */
export async function readBytes(device: Device, place: Place): Promise<Uint8Array> {
  const target = new Uint8Array(checked(device, place));
  await readInto(device, target, place);
  return target;
}

export async function readFields(
  device: Device,
  place: Place,
  order: 'big' | 'little',
): Promise<Fields> {
  return new Fields(await readBytes(device, place), place.what, order);
}

/** Fills `target`; a device with large sectors is read in whole ones. */
export async function readInto(device: Device, target: Uint8Array, place: Place): Promise<void> {
  checked(device, place);
  const { offsetBytes, lengthBytes } = place;
  const unit = device.blockSizes.minimumBytes;
  const start = Math.floor(offsetBytes / unit) * unit;
  const end = Math.min(device.sizeBytes, Math.ceil((offsetBytes + lengthBytes) / unit) * unit);
  if (start === offsetBytes && end === offsetBytes + lengthBytes) {
    await device.read(target, offsetBytes);
    return;
  }
  const wide = new Uint8Array(end - start);
  await device.read(wide, start);
  target.set(wide.subarray(offsetBytes - start, offsetBytes - start + lengthBytes));
}

function checked(device: Device, { offsetBytes, lengthBytes, what }: Place): number {
  if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes)) {
    throw damaged(`${device.name}: ${what} is at ${offsetBytes}, ${lengthBytes} bytes long`);
  }
  if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > device.sizeBytes) {
    const range = `${lengthBytes} bytes at ${offsetBytes}`;
    throw damaged(`${device.name}: ${what} (${range}) passes the end, ${device.sizeBytes}`);
  }
  if (lengthBytes > READ_BYTES_MAX) {
    throw tooMuch(`${device.name}: ${what} has ${lengthBytes} bytes, at most ${READ_BYTES_MAX}`);
  }
  return lengthBytes;
}
