/** The small real images of this folder, for tests of parsers. */
import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import { type Device, memory } from '../../../src/device/index.ts';

/** Made by make.sh, make-ext4.sh and make-ntfs.sh. */
export type ImageName =
  | 'clusters.qcow2'
  | 'parts.qcow2'
  | 'new.ext4'
  | 'old.ext4'
  | 'tools.ntfs'
  | 'mbr.disk'
  | 'gpt.disk';

export function imageBytes(name: ImageName): Uint8Array {
  // A plain array: `slice` of a Buffer shares its memory, of an array it copies.
  return new Uint8Array(zstdDecompressSync(readFileSync(new URL(`${name}.zst`, import.meta.url))));
}

/** The bytes as a device in memory, which tests may change. */
export function deviceOf(bytes: Uint8Array, name = 'image'): Device {
  const device = memory(name, bytes.byteLength);
  void device.write(bytes, 0, 0);
  return device;
}

/** SHA-256 by `IMAGE`, `IMAGE@SNAPSHOT`, `@INODE`, `@PATH`, as those say who made the images. */
export function imageDigests(): ReadonlyMap<string, string> {
  const text = readFileSync(new URL('digests.txt', import.meta.url), 'utf8').trim();
  return new Map(text.split('\n').map((line) => line.split(' ') as [string, string]));
}
