/** Opens what a person names: a path, or `memory:SIZE`. */
import type { Files } from '../core/index.ts';
import type { Device } from './device.ts';
import { openFile } from './file.ts';
import { memory } from './memory.ts';
import { parseSize } from './size.ts';

export type OpenDeviceOptions = { readonly readOnly: boolean };

const MEMORY = 'memory:';

/** `source` is anything but an URI, which belong to the layers above. */
export async function openDevice(
  files: Files,
  source: string,
  options: OpenDeviceOptions,
): Promise<Device> {
  if (!source.startsWith(MEMORY)) return openFile(files, source, options);
  const size = source.slice(MEMORY.length);
  return memory(size, parseSize(size));
}
