/** Where NTFS volumes are on a disk: all that is loaded where there is none. */
import type { Extent } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import type { Fields } from '../fields.ts';
import { readPartitions } from '../partitions.ts';
import { readFields } from '../read-bytes.ts';

const SECTOR_BYTES = 512;
const SIGNATURE = 0xaa55;
/** `NTFS    ` */
const NAME = [0x4e, 0x54, 0x46, 0x53, 0x20, 0x20, 0x20, 0x20];

/** Ascending. A volume may have the whole disk: its boot sector is no partition table then. */
export async function ntfsPlaces(device: Device): Promise<Extent[]> {
  const whole = { offsetBytes: 0, lengthBytes: device.sizeBytes };
  if (await looksLikeNtfs(device)) return [whole];
  const found: Extent[] = [];
  for (const { offsetBytes, lengthBytes } of (await readPartitions(device))?.partitions ?? []) {
    if (await looksLikeNtfs(device, offsetBytes)) found.push({ offsetBytes, lengthBytes });
  }
  return found;
}

/** Whether there may be one: a name in the first sector, nothing more. */
export async function looksLikeNtfs(device: Device, offsetBytes = 0): Promise<boolean> {
  if (device.sizeBytes < offsetBytes + SECTOR_BYTES) return false;
  const boot = await readNtfsSector(device, offsetBytes);
  return NAME.every((byte, at) => boot.u8(3 + at) === byte) && boot.u16(510) === SIGNATURE;
}

export function readNtfsSector(device: Device, offsetBytes = 0): Promise<Fields> {
  const what = `${device.name}: the boot sector of NTFS`;
  return readFields(device, { offsetBytes, lengthBytes: SECTOR_BYTES, what }, 'little');
}
