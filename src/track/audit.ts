/** The audit: reads again, at random, what a source of changes has called clean. */
import { isZero, type Signer, signer } from '../codec/index.ts';
import { Bitmap, type Extent, hasCode, mapOrdered, type Random, sha256 } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  LEAF_BYTES,
  type Leaf,
  PIECE_CHUNK,
  type Repository,
  type Snapshot,
  treeOf,
} from '../store/index.ts';
import type { ChangedRange, ChangeSet } from './change-source.ts';
import { AUDIT_UNIT_BYTES, AUDITS_IN_FLIGHT, UNTOLD_KEPT_MAX } from './limits.ts';

/** What a source has told to be changed, by units: the rest it calls clean. */
export class ToldUnits {
  readonly unitBytes: number;
  readonly units: Bitmap;
  readonly #sizeBytes: number;

  constructor({ chunkBytes, sizeBytes }: Pick<Snapshot, 'chunkBytes' | 'sizeBytes'>) {
    this.unitBytes = Math.max(chunkBytes, AUDIT_UNIT_BYTES);
    this.#sizeBytes = sizeBytes;
    this.units = new Bitmap(Math.ceil(sizeBytes / this.unitBytes));
  }

  /** What lies beyond the snapshot's size is nothing that could be compared. */
  add({ offsetBytes, lengthBytes }: Extent): void {
    const end = Math.min(this.#sizeBytes, offsetBytes + lengthBytes);
    if (lengthBytes === 0 || offsetBytes >= end) return;
    const first = Math.floor(offsetBytes / this.unitBytes);
    this.units.setRange(first, Math.ceil(end / this.unitBytes) - first);
  }

  /** Whether all of the range was told. */
  has({ offsetBytes, lengthBytes }: Extent): boolean {
    const first = Math.floor(offsetBytes / this.unitBytes);
    const end = Math.ceil((offsetBytes + lengthBytes) / this.unitBytes);
    return this.units.testRange(first, end - first);
  }

  /** Passes the ranges on, and remembers them. */
  async *listen(
    ranges: AsyncIterable<ChangedRange> | Iterable<ChangedRange>,
  ): AsyncGenerator<ChangedRange> {
    for await (const range of ranges) {
      this.add(range);
      yield range;
    }
  }
}

export type AuditOptions = {
  readonly repository: Repository;
  /** What is clean is as this has it. */
  readonly parent: Snapshot;
  readonly device: Device;
  readonly told: ToldUnits;
  /** Of the clean units, above 0 and at most 1. */
  readonly share: number;
  readonly random: Random;
  /** See ChangeSet: of a device that others write to while it is read. */
  readonly toldNow?: ChangeSet['toldNow'] | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type AuditReport = {
  readonly unitBytes: number;
  /** Units that were called clean. */
  readonly clean: number;
  /** Of those, read and compared. */
  readonly sampled: number;
  /** Drawn, but overwritten meanwhile, or not readable: nothing can be said of them. */
  readonly passedOver: number;
  readonly share: number;
  /** Ranges that differ from the snapshot, the first ones; `untoldCount` counts all. */
  readonly untold: readonly Extent[];
  readonly untoldCount: number;
};

/** The probability with which k untold units are found: at least one of them is drawn. */
export function confidence(share: number, k: number): number {
  return 1 - (1 - share) ** k;
}

/**
 * Each clean unit is drawn with the same probability, `share`, by a secret seed: nobody who changes
 * blocks can know which ones will be looked at.
 */
export async function audit(options: AuditOptions): Promise<AuditReport> {
  const { told, share, parent, repository } = options;
  await repository.index(); // Manifests are found through it.
  const clean = told.units.size - told.units.count();
  const check = new Comparison(options);
  const untold: Extent[] = [];
  let untoldCount = 0;
  let sampled = 0;
  let passedOver = 0;
  const units = drawn(options);
  const verdicts = mapOrdered(units, AUDITS_IN_FLIGHT, async (unit) => {
    const offsetBytes = unit * told.unitBytes;
    const lengthBytes = Math.min(told.unitBytes, parent.sizeBytes - offsetBytes);
    const extent = { offsetBytes, lengthBytes };
    const verdict = await check.look(extent);
    const isLate = verdict === 'different' && (await isToldNow(extent, options));
    return { extent, verdict: isLate ? ('unknown' as const) : verdict };
  });
  for await (const { extent, verdict } of verdicts) {
    options.signal?.throwIfAborted();
    if (verdict === 'unknown') passedOver++;
    else sampled++;
    if (verdict !== 'different') continue;
    untoldCount++;
    if (untold.length < UNTOLD_KEPT_MAX) untold.push(extent);
  }
  const { unitBytes } = told;
  return { unitBytes, clean, sampled, passedOver, share, untold, untoldCount };
}

/** Written since the question, and told by now: it belongs to the next set. */
async function isToldNow(extent: Extent, { toldNow, parent }: AuditOptions): Promise<boolean> {
  const ranges = await toldNow?.();
  if (ranges === undefined) return false;
  const later = new ToldUnits(parent);
  for (const range of ranges) later.add(range);
  return later.has(extent);
}

/** Clean units, ascending: after each the gap to the next is drawn. */
function* drawn({ told, share, random, parent, device }: AuditOptions): Generator<number> {
  const { units, unitBytes } = told;
  const end = Math.ceil(Math.min(parent.sizeBytes, device.sizeBytes) / unitBytes);
  let skip = gap(random, share);
  for (let from = units.nextClear(0, end); from < end; ) {
    const stop = units.nextSet(from, end);
    while (from + skip < stop) {
      yield from + skip;
      from += skip + 1;
      skip = gap(random, share);
    }
    skip -= stop - from;
    from = units.nextClear(stop, end);
  }
}

/** How many units are passed over before one is drawn: geometric. */
function gap(random: Random, share: number): number {
  if (share >= 1) return 0;
  const bytes = new Uint8Array(6);
  random.fill(bytes);
  const drawnNumber = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  return Math.floor(Math.log((drawnNumber + 1) / 2 ** 48) / Math.log1p(-share));
}

type Verdict = 'same' | 'different' | 'unknown';

/** Compares ranges of a device with a snapshot's manifest, by hash. */
class Comparison {
  readonly #options: AuditOptions;
  readonly #signer: Signer;
  /** Of reads that have ended: fresh memory takes longer than hashing what is read into it. */
  readonly #free: Uint8Array[] = [];
  #leaf: { readonly index: number; readonly leaf: Promise<Leaf | undefined> } | undefined;

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#signer = signer(options.repository.objects.sealer.chunkSigning);
  }

  async look(extent: Extent): Promise<Verdict> {
    const buffer = this.#free.pop() ?? new Uint8Array(this.#options.told.unitBytes);
    const verdict = await this.#compare(extent, buffer);
    this.#free.push(buffer);
    return verdict;
  }

  async #compare({ offsetBytes, lengthBytes }: Extent, buffer: Uint8Array): Promise<Verdict> {
    const { device, parent } = this.#options;
    const end = offsetBytes + lengthBytes;
    // What could not be read then is zeroes in the snapshot, and may well be readable now.
    if (parent.unreadable.some((bad) => meets(bad, offsetBytes, end))) return 'unknown';
    // A device that has shrunk ends inside of the last unit.
    if (end > device.sizeBytes) return 'unknown';
    const bytes = buffer.subarray(0, lengthBytes);
    try {
      await device.read(bytes, offsetBytes);
    } catch (error) {
      // Overwritten since the moment that is read: it is told the next time. Or a bad sector.
      if (hasCode(error, 'DEVICE_CLOSED') || hasCode(error, 'DEVICE_IO')) return 'unknown';
      throw error;
    }
    const leaf = await this.#leafAt(Math.floor(offsetBytes / LEAF_BYTES));
    return this.#equals(leaf, bytes, offsetBytes % LEAF_BYTES) ? 'same' : 'different';
  }

  #leafAt(index: number): Promise<Leaf | undefined> {
    if (this.#leaf?.index !== index) this.#leaf = { index, leaf: this.#readLeaf(index) };
    return this.#leaf.leaf;
  }

  async #readLeaf(index: number): Promise<Leaf | undefined> {
    const { repository, parent } = this.#options;
    const tree = treeOf(parent);
    const reference = await repository.reader.nodeReference(tree, 0, index);
    return reference && repository.reader.wholeLeaf(tree, index, reference);
  }

  /** No leaf: a hole of 8 MiB. Pieces never cross the border of a unit. */
  #equals(leaf: Leaf | undefined, bytes: Uint8Array, from: number): boolean {
    if (leaf === undefined) return isZero(bytes);
    let at = 0;
    for (let piece = 0; piece < leaf.count && at < from + bytes.byteLength; piece++) {
      const length = leaf.lengths[piece]!;
      if (at >= from) {
        const part = bytes.subarray(at - from, at - from + length);
        const isChunk = leaf.kinds[piece] === PIECE_CHUNK;
        const isSame = isChunk ? this.#hasId(part, leaf.id(piece)) : isZero(part);
        if (!isSame) return false;
      }
      at += length;
    }
    return true;
  }

  #hasId(bytes: Uint8Array, id: Uint8Array): boolean {
    return Buffer.compare(this.#signer.idOf(sha256(bytes)), id) === 0;
  }
}

function meets(extent: Extent, from: number, end: number): boolean {
  return extent.offsetBytes < end && from < extent.offsetBytes + extent.lengthBytes;
}

/** For people: what was looked at, and what that is worth. */
export function auditWords({ sampled, clean, unitBytes, share, untoldCount }: AuditReport): string {
  const unit = `${formatCount(clean)} clean chunks of ${unitBytes / 1024} KiB`;
  const looked = `${formatCount(sampled)} of ${unit} read again`;
  if (untoldCount > 0) return `${looked}: ${formatCount(untoldCount)} had changed untold`;
  if (clean === 0) return 'nothing was called clean';
  if (sampled === 0) return `${looked}: that proves nothing`;
  const one = confidence(share, 1).toPrecision(2);
  const many = confidence(share, 100).toPrecision(2);
  const worth = `finds one untold chunk with probability ${one}, one of a hundred with ${many}`;
  const percent = (share * 100).toPrecision(share < 0.995 ? 2 : 3);
  return `${looked}, all as told; ${percent} % ${worth}`;
}

/** `12,345`. Not by `toLocaleString`, which loads tables of all languages: 20 ms. */
function formatCount(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ',');
}
