/** The bytes of an empty qcow2 image, which QEMU then uses as the place for what is overwritten. */
import { tooLarge } from './errors.ts';

const MAGIC = 0x514649fb;
const CLUSTER_BITS = 16;
const CLUSTER = 2 ** CLUSTER_BITS;
const HEADER_BYTES = 104;
/** Reference counts of 16 bits. */
const REFCOUNT_ORDER = 4;
/** What one entry of the first table maps: a second table of 8-byte entries. */
const MAPPED = (CLUSTER / 8) * CLUSTER;
/** 32 MiB of first table, as QEMU allows, map 2 PiB; one block of counts is enough for that. */
const SIZE_BYTES_MAX = 2 ** 51;

/**
 * Header, table of reference counts, one block of them, first table. QEMU could make it itself
 * (blockdev-create), but version 7.2 ends with an assertion if its nodes are listed meanwhile.
 */
export function emptyQcow2(sizeBytes: number): Uint8Array {
  if (sizeBytes > SIZE_BYTES_MAX) throw tooLarge(sizeBytes, SIZE_BYTES_MAX);
  const l1Count = Math.max(1, Math.ceil(sizeBytes / MAPPED));
  const clusters = 3 + Math.ceil((l1Count * 8) / CLUSTER);
  const bytes = new Uint8Array(clusters * CLUSTER);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, 3);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(36, l1Count);
  view.setBigUint64(40, BigInt(3 * CLUSTER));
  view.setBigUint64(48, BigInt(CLUSTER));
  view.setUint32(56, 1);
  view.setUint32(96, REFCOUNT_ORDER);
  view.setUint32(100, HEADER_BYTES);
  view.setBigUint64(CLUSTER, BigInt(2 * CLUSTER));
  for (let cluster = 0; cluster < clusters; cluster++) {
    view.setUint16(2 * CLUSTER + 2 * cluster, 1);
  }
  return bytes;
}
