/** Opens what a person names: a path, or `memory:SIZE`. */
import { type Files, parseSize, SIZE_FORM } from '../core/index.ts';
import { type Device, DeviceError } from './device.ts';
import { type OpenFileOptions, openFile } from './file.ts';
import { memory } from './memory.ts';

/** `directIo` means nothing to memory. */
export type OpenDeviceOptions = OpenFileOptions;

const MEMORY = 'memory:';

/** `source` is anything but an URI, which belong to the layers above. */
export async function openDevice(
  files: Files,
  source: string,
  options: OpenDeviceOptions,
): Promise<Device> {
  if (!source.startsWith(MEMORY)) return openFile(files, source, options);
  const size = source.slice(MEMORY.length);
  const sizeBytes = parseSize(size);
  if (sizeBytes !== undefined) return memory(size, sizeBytes);
  throw new DeviceError('DEVICE_SIZE', `"${size}" is not a size`, { hint: `Write ${SIZE_FORM}.` });
}
