/** The boot sector of NTFS: where its files begin, and which volume it is. */
import type { Device } from '../../device/index.ts';
import { damaged, notFound, unsupported } from '../errors.ts';
import type { Fields } from '../fields.ts';
import {
  CLUSTER_BYTES_MAX,
  CLUSTER_BYTES_MIN,
  CLUSTERS_MAX,
  INDEX_BYTES_MAX,
  RECORD_BYTES_MAX,
  RECORD_BYTES_MIN,
} from './limits.ts';
import { hex64 } from './numbers.ts';
import { looksLikeNtfs, readNtfsSector } from './places.ts';

const SECTOR_BYTES_MIN = 512;
const SECTOR_BYTES_MAX = 4096;

export type NtfsBoot = {
  /** Sixteen hexadecimal digits. */
  readonly serial: string;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  /** Where $MFT begins. */
  readonly mftCluster: number;
  readonly recordBytes: number;
  readonly indexBytes: number;
};

/** FS_NOT_FOUND if there is none. */
export async function readNtfsBoot(device: Device): Promise<NtfsBoot> {
  if (!(await looksLikeNtfs(device))) throw notFound(`${device.name} has no NTFS file system`);
  const boot = await readNtfsSector(device);
  const sectorBytes = power(boot, boot.u16(0x0b), [SECTOR_BYTES_MIN, SECTOR_BYTES_MAX]);
  const clusterBytes = power(boot, sectorBytes * sectorsPerCluster(boot.u8(0x0d)), [
    CLUSTER_BYTES_MIN,
    CLUSTER_BYTES_MAX,
  ]);
  const sizeBytes = boot.u64(0x28) * sectorBytes;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes > device.sizeBytes) {
    throw damaged(`${device.name}: its NTFS ends at ${sizeBytes}, it has ${device.sizeBytes}`);
  }
  const clusterCount = Math.floor(sizeBytes / clusterBytes);
  if (clusterCount > CLUSTERS_MAX) {
    throw unsupported(`${device.name} has ${clusterCount} clusters, at most ${CLUSTERS_MAX}`);
  }
  const mftCluster = boot.u64(0x30);
  if (mftCluster >= clusterCount) {
    throw damaged(`${device.name}: $MFT is in cluster ${mftCluster} of ${clusterCount}`);
  }
  const sized = (at: number, max: number) =>
    power(boot, bytesOf(boot.u8(at), clusterBytes), [RECORD_BYTES_MIN, max]);
  return {
    serial: hex64(boot, 0x48),
    ...{ clusterBytes, clusterCount, mftCluster },
    recordBytes: sized(0x40, RECORD_BYTES_MAX),
    indexBytes: sized(0x44, INDEX_BYTES_MAX),
  };
}

/** Above 128 it is a power of two: the count does not fit in a byte. */
function sectorsPerCluster(value: number): number {
  return value > 0x80 ? 2 ** (256 - value) : value;
}

/** A count of clusters, or, if negative, a power of two of bytes. */
function bytesOf(value: number, clusterBytes: number): number {
  return value >= 0x80 ? 2 ** (256 - value) : value * clusterBytes;
}

function power(boot: Fields, value: number, [min, max]: readonly [number, number]): number {
  if (value >= min && value <= max && Number.isInteger(Math.log2(value))) return value;
  throw damaged(`${boot.what}: ${value} is no size from ${min} to ${max}`);
}
