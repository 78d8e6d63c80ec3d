/** The tally of one block size: counts per image and for all, and a sample of compressed sizes. */
import { type Compression, compress, isZero } from '../../codec/index.ts';
import { FerryError, SHA256_BYTES, sha256 } from '../../core/index.ts';
import { DigestTable } from './digest-table.ts';

/** 2^26 blocks are 4 TiB of unique data at 64 KiB, and 2 GiB of table at most. */
export const UNIQUE_BLOCKS_MAX = 2 ** 26;

/** The first unique blocks are all compressed, so that a small image has a good figure too. */
const WHOLLY_COMPRESSED_BLOCKS = 1024;

export class AnalyzeError extends FerryError<'ANALYZE_TOO_MANY_BLOCKS'> {
  override readonly name = 'AnalyzeError';
}

/** Counts of one image, or of all together. */
export type Space = {
  readonly rawBlocks: number;
  readonly rawBytes: number;
  readonly nonZeroBlocks: number;
  readonly nonZeroBytes: number;
  /** Different blocks that are not zero. */
  readonly uniqueBlocks: number;
  readonly uniqueBytes: number;
  /** Of the unique blocks, each compressed alone; undefined if that was not wanted. */
  readonly compressedBytes: number | undefined;
  /** Of how many blocks that was measured; fewer than `uniqueBlocks` make it an estimate. */
  readonly compressedBlocks: number;
};

/** Receives every block that is not zero, in order. */
export type BlockListener = (offsetBytes: number, lengthBytes: number, digest: Uint8Array) => void;

class Counts {
  nonZeroBlocks = 0;
  nonZeroBytes = 0;
  uniqueBlocks = 0;
  uniqueBytes = 0;
  /** All of the first blocks, then a sample of the others: two strata, scaled apart. */
  readonly head = { blocks: 0, bytes: 0, compressedBytes: 0 };
  readonly sample = { blocks: 0, bytes: 0, compressedBytes: 0 };

  space(rawBytes: number, rawBlocks: number, isCompressed: boolean): Space {
    const { nonZeroBlocks, nonZeroBytes, uniqueBlocks, uniqueBytes, head, sample } = this;
    const basis = sample.bytes > 0 ? sample : head;
    const share = basis.bytes === 0 ? 0 : basis.compressedBytes / basis.bytes;
    const compressed = head.compressedBytes + Math.round((uniqueBytes - head.bytes) * share);
    return {
      rawBlocks,
      rawBytes,
      nonZeroBlocks,
      nonZeroBytes,
      uniqueBlocks,
      uniqueBytes,
      compressedBytes: isCompressed ? compressed : undefined,
      compressedBlocks: head.blocks + sample.blocks,
    };
  }
}

export type TallyOptions = {
  readonly blockSizeBytes: number;
  /** Undefined: no compressed sizes. */
  readonly compression: Compression | undefined;
  /** Every Nth unique block is compressed. */
  readonly sampleEvery: number;
  readonly uniqueBlocksMax?: number;
};

export class Tally {
  readonly #options: TallyOptions;
  readonly #table: DigestTable;
  /** The last digest, at an address at which it can be read as words. */
  readonly #digest = new Uint8Array(SHA256_BYTES);
  readonly #words = new Uint32Array(this.#digest.buffer);
  readonly #all = new Counts();
  readonly #images: { readonly counts: Counts; readonly sizeBytes: number; added: number }[] = [];

  constructor(options: TallyOptions) {
    this.#options = options;
    this.#table = new DigestTable(options.uniqueBlocksMax ?? UNIQUE_BLOCKS_MAX);
  }

  /** What is added from now on belongs to the next image. */
  beginImage(sizeBytes: number): void {
    this.#images.push({ counts: new Counts(), sizeBytes, added: 0 });
  }

  /** `bytes` lie at `offsetBytes` of the image, a multiple of the block size. */
  add(bytes: Uint8Array, offsetBytes: number, listener?: BlockListener): void {
    const { blockSizeBytes } = this.#options;
    for (let at = 0; at < bytes.byteLength; at += blockSizeBytes) {
      const block = bytes.subarray(at, Math.min(bytes.byteLength, at + blockSizeBytes));
      if (!isZero(block)) this.#addBlock(block, offsetBytes + at, listener);
    }
  }

  /** One `Space` per image, with the bytes that no earlier image had, and one for all. */
  result(): { images: (Space & { readonly addedBytes: number })[]; total: Space } {
    const { blockSizeBytes, compression } = this.#options;
    const isCompressed = compression !== undefined;
    const blocksOf = (bytes: number) => Math.ceil(bytes / blockSizeBytes);
    const sum = (count: (sizeBytes: number) => number) =>
      this.#images.reduce((total, { sizeBytes }) => total + count(sizeBytes), 0);
    return {
      images: this.#images.map(({ counts, sizeBytes, added }) => ({
        ...counts.space(sizeBytes, blocksOf(sizeBytes), isCompressed),
        addedBytes: added,
      })),
      total: this.#all.space(
        sum((bytes) => bytes),
        sum(blocksOf),
        isCompressed,
      ),
    };
  }

  #addBlock(block: Uint8Array, offsetBytes: number, listener: BlockListener | undefined): void {
    const all = this.#all;
    const image = this.#images.at(-1)!;
    for (const counts of [all, image.counts]) {
      counts.nonZeroBlocks += 1;
      counts.nonZeroBytes += block.byteLength;
    }
    const digest = sha256(block);
    listener?.(offsetBytes, block.byteLength, digest);
    this.#digest.set(digest);
    const seen = this.#table.see(this.#words, 0, this.#images.length);
    if (seen === 'again') return;
    if (seen === 'full') throw this.#full();
    // By content, not by place: an image's sample does not depend on the images before it.
    const isSampled = this.#words[7]! % this.#options.sampleEvery === 0;
    let compressedBytes: number | undefined;
    const measure = () => {
      compressedBytes ??= compress(block, this.#options.compression!).stored.byteLength;
      return compressedBytes;
    };
    if (seen === 'new') {
      image.added += block.byteLength;
      this.#addUnique(all, block, isSampled, measure);
    }
    this.#addUnique(image.counts, block, isSampled, measure);
  }

  #addUnique(counts: Counts, block: Uint8Array, isSampled: boolean, measure: () => number): void {
    counts.uniqueBlocks += 1;
    counts.uniqueBytes += block.byteLength;
    if (this.#options.compression === undefined) return;
    const isHead = counts.uniqueBlocks <= WHOLLY_COMPRESSED_BLOCKS;
    if (!isHead && !isSampled) return;
    const stratum = isHead ? counts.head : counts.sample;
    stratum.blocks += 1;
    stratum.bytes += block.byteLength;
    stratum.compressedBytes += measure();
  }

  #full(): AnalyzeError {
    return new AnalyzeError(
      'ANALYZE_TOO_MANY_BLOCKS',
      `more than ${this.#table.count} different blocks of ${this.#options.blockSizeBytes} bytes`,
      { hint: 'Use a larger block size, or analyze fewer images at once.' },
    );
  }
}
