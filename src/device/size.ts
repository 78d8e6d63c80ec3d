/** Sizes as people write them: `4096`, `512M`, `1.5GiB`. */
import { DeviceError } from './device.ts';

const powers: Readonly<Record<string, number>> = {
  '': 0,
  K: 1,
  M: 2,
  G: 3,
  T: 4,
  P: 5,
};

/** IEC units, of either case, with or without `iB` or `B`; a fraction must give whole bytes. */
export function parseSize(text: string): number {
  const match = /^(\d{1,16}(?:\.\d{1,9})?)([KMGTP]?)(?:I?B)?$/i.exec(text);
  const power = powers[match?.[2]?.toUpperCase() ?? ''];
  const bytes = match === null ? Number.NaN : Number(match[1]) * 1024 ** (power ?? Number.NaN);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new DeviceError('DEVICE_SIZE', `"${text}" is not a size`, {
    hint: 'Write a number of bytes below 2^53, or one with K, M, G, T or P (powers of 1024).',
  });
}
