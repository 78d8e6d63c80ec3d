/** Hashes of chunks, by which an agent compares its volume with what is here. */
import { isZero } from '../../../codec/index.ts';
import { SHA256_BYTES, sha256 } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { HASHES_PER_ANSWER, OFFER_BYTES } from '../limits.ts';
import type { Request } from '../requests.ts';
import type { Replica } from './replica.ts';

/** SHA-256 after SHA-256, all zero where all bytes are; REPLICATE_BASE if the epoch has passed. */
export async function hashesOf(
  replica: Replica,
  { epoch, offsetBytes, count }: Extract<Request, { ask: 'hashes' }>,
): Promise<Uint8Array> {
  if (replica.epoch !== epoch) {
    throw new ReplicateError('REPLICATE_BASE', `epoch ${epoch} is not the present one`, {
      hint: 'Compare again.',
    });
  }
  const { sizeBytes } = replica;
  const read = async (target: Uint8Array, from: number) =>
    target.set(await replica.read(from, target.byteLength));
  return await hashesIn({ sizeBytes, read }, offsetBytes, count);
}

/** SHA-256 after SHA-256 of chunks of OFFER_BYTES, all zero where all bytes are. */
export async function hashesIn(
  device: Pick<Device, 'sizeBytes' | 'read'>,
  offsetBytes: number,
  count: number,
): Promise<Uint8Array> {
  if (count > HASHES_PER_ANSWER || offsetBytes % OFFER_BYTES !== 0) {
    throw protocolBreach(`${count} hashes from ${offsetBytes} on are asked for`);
  }
  const hashes = new Uint8Array(count * SHA256_BYTES);
  const bytes = new Uint8Array(OFFER_BYTES);
  for (let at = 0; at < count; at += 1) {
    const from = offsetBytes + at * OFFER_BYTES;
    const part = bytes.subarray(0, Math.min(OFFER_BYTES, device.sizeBytes - from));
    if (part.byteLength <= 0) throw protocolBreach('hashes behind the end are asked for');
    await device.read(part, from);
    if (!isZero(part)) hashes.set(sha256(part), at * SHA256_BYTES);
  }
  return hashes;
}
