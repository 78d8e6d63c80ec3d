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
  { epoch, offsetBytes, count, unitBytes }: Extract<Request, { ask: 'hashes' }>,
): Promise<Uint8Array> {
  if (replica.epoch !== epoch) {
    throw new ReplicateError('REPLICATE_BASE', `epoch ${epoch} is not the present one`, {
      hint: 'Compare again.',
    });
  }
  const { sizeBytes } = replica;
  const read = async (target: Uint8Array, from: number) =>
    target.set(await replica.read(from, target.byteLength));
  return await hashesIn({ sizeBytes, read }, { offsetBytes, count, unitBytes });
}

type Units = Pick<Extract<Request, { ask: 'hashes' }>, 'offsetBytes' | 'count' | 'unitBytes'>;

/** SHA-256 after SHA-256, all zero where all bytes are. */
export async function hashesIn(
  device: Pick<Device, 'sizeBytes' | 'read'>,
  { offsetBytes, count, unitBytes }: Units,
): Promise<Uint8Array> {
  if (count > HASHES_PER_ANSWER || offsetBytes % unitBytes !== 0) {
    throw protocolBreach(`${count} hashes from ${offsetBytes} on are asked for`);
  }
  const hashes = new Uint8Array(count * SHA256_BYTES);
  const bytes = new Uint8Array(OFFER_BYTES);
  const endBytes = Math.min(offsetBytes + count * unitBytes, device.sizeBytes);
  if (offsetBytes + (count - 1) * unitBytes >= endBytes) {
    throw protocolBreach('hashes behind the end are asked for');
  }
  for (let from = offsetBytes; from < endBytes; from += OFFER_BYTES) {
    const read = bytes.subarray(0, Math.min(OFFER_BYTES, endBytes - from));
    await device.read(read, from);
    for (let at = 0; at < read.byteLength; at += unitBytes) {
      const unit = read.subarray(at, at + unitBytes);
      const number = (from - offsetBytes + at) / unitBytes;
      if (!isZero(unit)) hashes.set(sha256(unit), number * SHA256_BYTES);
    }
  }
  return hashes;
}
