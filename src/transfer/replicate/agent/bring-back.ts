/** Brings a promoted volume back to its agent: only what differs, then the right to write it. */

import { isZero } from '../../../codec/index.ts';
import {
  type Extent,
  ExtentSet,
  equalBytes,
  mapOrdered,
  SHA256_BYTES,
  sha256,
  toHex,
} from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import { KIND_ZERO, READ_BYTES_MAX } from '../../../wire/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { CHANGED_RANGES_MAX, HASHES_PER_ASK, OFFER_BYTES, READS_IN_FLIGHT } from '../limits.ts';
import { plainOf } from '../plain-data.ts';
import type { ReverseAnswer } from '../requests.ts';
import type { AgentAuthority } from './agent-authority.ts';
import type { RemoteVolume } from './remote-volume.ts';

export type BringBackOptions = {
  /** Written to; nobody else writes to it. */
  readonly device: Device;
  readonly authority: AgentAuthority;
  /** What was written here since the last common epoch, or may have been; 'all' if nobody knows. */
  readonly own: Iterable<Extent> | 'all';
  /** Of what is here, in the end. */
  readonly digestOf: () => Promise<Uint8Array>;
  readonly onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
};

export type BringBackReport = {
  readonly authority: number;
  /** What is here is this epoch of the replica. */
  readonly epoch: number;
  readonly snapshot: string;
  readonly digest: string;
  /** Written at the provider since the last common epoch; here since then, or perhaps. */
  readonly theirBytes: number;
  readonly ownBytes: number;
  /** Compared by hashes, and found equal. */
  readonly sameBytes: number;
  readonly fetchedBytes: number;
};

/**
 * REPLICATE_FENCED while something is only here. Nothing counts until both sides have one digest:
 * REPLICATE_DIGEST if they do not. REPLICATE_BUSY while the provider's side is still written. What
 * is interrupted is begun anew by the same call.
 */
export async function bringBack(
  volume: RemoteVolume,
  options: BringBackOptions,
): Promise<BringBackReport> {
  const { device, authority, own, digestOf } = options;
  const { number } = volume.facts;
  if (!authority.mayBeOverwritten) throw authority.refusal();
  const { sizeBytes = device.sizeBytes } = volume.known;
  if (sizeBytes !== device.sizeBytes) throw otherSize(authority.volume, sizeBytes, device);
  const { json } = await volume.agent.ask({ ask: 'reverse' }, { volume: number });
  const answer = json as unknown as ReverseAnswer;
  const { nextEpoch, digest, snapshot } = answer;
  const theirs = await changedThere(volume);
  const ours = own === 'all' ? 'all' : new ExtentSet(own);
  const all = ours === 'all' || theirs === 'all';
  const wanted = new ExtentSet(all ? [{ offsetBytes: 0, lengthBytes: device.sizeBytes }] : theirs);
  if (ours !== 'all') wanted.addAll(ours);
  const puller = new Puller(volume, device);
  let doneBytes = 0;
  for await (const bytes of mapOrdered(parts(wanted), READS_IN_FLIGHT, (part) =>
    puller.pull(part),
  )) {
    doneBytes += bytes;
    options.onProgress?.({ doneBytes, totalBytes: wanted.totalBytes });
  }
  await device.flush();
  const here = await digestOf();
  if (toHex(here) !== digest) throw notEqual(authority.volume);
  const prepare = await volume.askForOffer();
  if (prepare.authority !== answer.authority || !equalBytes(prepare.digest, here)) {
    await volume.notTaken(prepare.authority, 'what is offered is not what was fetched');
    throw notEqual(authority.volume);
  }
  // From here on this side writes, whatever becomes of the link.
  await authority.take(prepare.authority + 1);
  await volume.taken({ authority: prepare.authority + 1, epoch: nextEpoch, digest: here });
  return {
    ...{ authority: prepare.authority + 1, epoch: nextEpoch, snapshot, digest },
    theirBytes: theirs === 'all' ? device.sizeBytes : theirs.totalBytes,
    ownBytes: ours === 'all' ? device.sizeBytes : ours.totalBytes,
    ...puller.counts,
  };
}

async function changedThere({ agent, facts }: RemoteVolume): Promise<ExtentSet | 'all'> {
  const changed = new ExtentSet();
  for (let offsetBytes = 0; ; ) {
    const about = { volume: facts.number };
    const { changes } = await agent.ask({ ask: 'changes', offsetBytes }, about);
    if (changes === undefined) throw protocolBreach('an answer without changes');
    const last = changes.at(-1);
    if (last === undefined) return changed;
    changed.addAll(changes);
    if (changed.count > CHANGED_RANGES_MAX) return 'all';
    const end = last.offsetBytes + last.lengthBytes;
    if (end <= offsetBytes) throw protocolBreach('changes that do not ascend');
    offsetBytes = end;
  }
}

type Part = Extent & {
  /** Whole chunks, whose hashes are compared first. */
  readonly isWhole: boolean;
};

/** Each extent as whole chunks, some at a time, and what is left at its ends. */
function* parts(extents: Iterable<Extent>): Generator<Part> {
  const step = OFFER_BYTES * HASHES_PER_ASK;
  for (const { offsetBytes, lengthBytes } of extents) {
    const end = offsetBytes + lengthBytes;
    const first = Math.min(end, Math.ceil(offsetBytes / OFFER_BYTES) * OFFER_BYTES);
    const last = Math.max(first, Math.floor(end / OFFER_BYTES) * OFFER_BYTES);
    if (first > offsetBytes) yield part(offsetBytes, first, false);
    for (let at = first; at < last; at += step) yield part(at, Math.min(last, at + step), true);
    if (end > last) yield part(last, end, false);
  }
}

function part(offsetBytes: number, end: number, isWhole: boolean): Part {
  return { offsetBytes, lengthBytes: end - offsetBytes, isWhole };
}

class Puller {
  readonly counts = { sameBytes: 0, fetchedBytes: 0 };
  readonly #volume: RemoteVolume;
  readonly #device: Device;

  constructor(volume: RemoteVolume, device: Device) {
    this.#volume = volume;
    this.#device = device;
  }

  async pull({ isWhole, ...part }: Part): Promise<number> {
    const different = isWhole ? await this.#different(part) : [part];
    for (const { offsetBytes, lengthBytes } of different) {
      const end = offsetBytes + lengthBytes;
      for (let at = offsetBytes; at < end; at += READ_BYTES_MAX) {
        await this.#fetch(at, Math.min(READ_BYTES_MAX, end - at));
      }
    }
    return part.lengthBytes;
  }

  /** Those chunks whose hashes differ; what is all zero there is made so here at once. */
  async #different({ offsetBytes, lengthBytes }: Extent): Promise<ExtentSet> {
    const count = lengthBytes / OFFER_BYTES;
    const hashes = await this.#volume.hashes(offsetBytes, count);
    const different = new ExtentSet();
    const bytes = new Uint8Array(OFFER_BYTES);
    for (let index = 0; index < count; index += 1) {
      const at = offsetBytes + index * OFFER_BYTES;
      await this.#device.read(bytes, at);
      const their = hashes.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
      const isEmpty = isZero(their);
      const isSame = isEmpty ? isZero(bytes) : equalBytes(sha256(bytes), their);
      if (isSame) this.counts.sameBytes += OFFER_BYTES;
      else if (isEmpty) await this.#device.zero(OFFER_BYTES, at, 0);
      else different.add(at, OFFER_BYTES);
    }
    return different;
  }

  async #fetch(offsetBytes: number, lengthBytes: number): Promise<void> {
    const { agent, facts } = this.#volume;
    const data = await agent.read({ volume: facts.number, offsetBytes, lengthBytes });
    const { records } = plainOf(data);
    let at = offsetBytes;
    let index = 0;
    for (const entry of data.entries) {
      if (entry.offsetBytes !== at) throw protocolBreach('an answer to a read has a gap');
      at += entry.lengthBytes;
      if (at > offsetBytes + lengthBytes) throw protocolBreach('an answer to a read is too long');
      if (entry.kind === KIND_ZERO)
        await this.#device.zero(entry.lengthBytes, entry.offsetBytes, 0);
      else await this.#device.write(records[index++]!, entry.offsetBytes, 0);
    }
    if (at !== offsetBytes + lengthBytes) throw protocolBreach('an answer to a read is too short');
    this.counts.fetchedBytes += lengthBytes;
  }
}

function otherSize(volume: string, thereBytes: number, { sizeBytes }: Device): ReplicateError {
  const sizes = `${thereBytes} bytes there, ${sizeBytes} here`;
  return new ReplicateError('REPLICATE_SIZE', `${volume} has ${sizes}`, {
    hint: 'What was promoted keeps its size: give the disk here that one, and run this again.',
  });
}

function notEqual(volume: string): ReplicateError {
  const message = `what is here of ${volume} is not what the provider has`;
  return new ReplicateError('REPLICATE_DIGEST', message, {
    hint: 'Nothing was moved: the provider goes on writing it. See that nobody writes here.',
  });
}
