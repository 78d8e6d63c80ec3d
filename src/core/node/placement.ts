/** The bytes of a FIEMAP request and its answer (Documentation/filesystems/fiemap.rst of Linux). */
import type { PlacedExtent } from '../env.ts';
import { EnvError } from '../errors.ts';
import { posixError } from './posix-error.ts';

const HEAD_BYTES = 32;
const EXTENT_BYTES = 56;
const EXTENTS = 256;
const FLAG_SYNC = 1;
/** All to the end of the file. */
const REST = 0xffffffffffffffffn;

// Unknown place, not placed yet, encoded, encrypted, not aligned, inline, tail.
const UNCERTAIN = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;
const UNWRITTEN = 0x800;

export function placementRequest(offsetBytes: number): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + EXTENTS * EXTENT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(offsetBytes), true);
  view.setBigUint64(8, REST - BigInt(offsetBytes), true);
  view.setUint32(16, FLAG_SYNC, true);
  view.setUint32(24, EXTENTS, true);
  return bytes;
}

export function placedExtents(request: Uint8Array): PlacedExtent[] {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const count = Math.min(EXTENTS, view.getUint32(20, true));
  return Array.from({ length: count }, (_, index) => {
    const at = HEAD_BYTES + index * EXTENT_BYTES;
    const flags = view.getUint32(at + 40, true);
    return {
      offsetBytes: Number(view.getBigUint64(at, true)),
      placeBytes: Number(view.getBigUint64(at + 8, true)),
      lengthBytes: Number(view.getBigUint64(at + 16, true)),
      isCertain: (flags & UNCERTAIN) === 0,
      isUnwritten: (flags & UNWRITTEN) !== 0,
    };
  });
}

/** What these mean is "this file system cannot". */
const cannot: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOTTY', 'EXDEV', 'ENOSYS', 'EINVAL']);

export function sharingError(name: string, verb: string, path: string): EnvError {
  if (!cannot.has(name)) return posixError(name, verb, path);
  return new EnvError('ENV_UNSUPPORTED', `cannot ${verb} ${path} (${name})`, {
    hint: 'Both must lie on one XFS (with reflinks) or btrfs.',
  });
}
