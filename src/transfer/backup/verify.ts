/** Verifies a restored device: reads it again and compares the volume digest. */
import type { CodecPool } from '../../codec/index.ts';
import { toHex } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import type { Snapshot } from '../../store/index.ts';
import { type DigestOptions, deviceDigest } from '../device-digest.ts';
import { TransferError } from '../errors.ts';

/** TRANSFER_VERIFY unless the device holds exactly the snapshot's content. */
export async function verifyRestored(
  snapshot: Snapshot,
  device: Device,
  pool: CodecPool,
  options: DigestOptions,
): Promise<void> {
  const digest = toHex(await deviceDigest(device, snapshot.sizeBytes, pool, options));
  if (digest === snapshot.digest) return;
  throw new TransferError(
    'TRANSFER_VERIFY',
    `${device.name} does not hold what ${snapshot.volume}@${snapshot.id.slice(0, 8)} holds`,
    { hint: 'Something else wrote to it, or the medium is bad: restore to another one.' },
  );
}
