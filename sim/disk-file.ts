/** One simulated file: what programs see, what is durable, and the changes in between. */
import { Draws, hash32 } from './draws.ts';
import { type ContentChange, SECTOR_BYTES, SectorImage } from './sector-image.ts';

/** Which of a file's unforced changes a power cut leaves behind; drawn per file and per crash. */
type Survival = 'nothing' | 'everything' | 'size-only' | 'data-only' | 'mixed';
const survivals: readonly Survival[] = ['nothing', 'everything', 'size-only', 'data-only', 'mixed'];

export class DiskFile {
  readonly inode: number;
  /** `special` stands for a FIFO, a socket or a terminal. */
  readonly kind: 'file' | 'special';
  modifiedMs = 0;
  /** Names and open handles that keep the content alive. */
  references = 0;
  readonly image: SectorImage;
  readonly #durable: SectorImage;
  #unforced: { readonly number: number; readonly change: ContentChange }[] = [];
  #changeCount = 0;
  readonly #spoiled: { readonly from: number; readonly to: number }[] = [];

  constructor(inode: number, kind: 'file' | 'special' = 'file', image = new SectorImage()) {
    this.inode = inode;
    this.kind = kind;
    this.image = image;
    this.#durable = image.clone();
  }

  change(change: ContentChange): void {
    this.image.apply(change);
    this.#unforced.push({ number: ++this.#changeCount, change });
  }

  /** What a fdatasync that begins now must force; later changes are not its affair. */
  get mark(): number {
    return this.#changeCount;
  }

  /** A successful fdatasync that began at `mark`. */
  force(mark: number): void {
    for (const { number, change } of this.#unforced) {
      if (number <= mark) this.#durable.apply(change);
    }
    this.loseUnforced(mark);
  }

  /** A failed fdatasync: the kernel takes the pages for clean; a later one does not save them. */
  loseUnforced(mark: number): void {
    this.#unforced = this.#unforced.filter(({ number }) => number > mark);
  }

  /** Damages the medium: what programs read and what a crash leaves alike. */
  flipBit(bit: number): void {
    this.force(this.mark);
    this.image.flipBit(bit);
    this.#durable.flipBit(bit);
  }

  /** Makes the medium unreadable there. */
  spoil(offsetBytes: number, lengthBytes: number): void {
    this.#spoiled.push({ from: offsetBytes, to: offsetBytes + lengthBytes });
  }

  isSpoiled(offsetBytes: number, lengthBytes: number): boolean {
    return this.#spoiled.some(
      ({ from, to }) => offsetBytes < to && from < offsetBytes + lengthBytes,
    );
  }

  /**
   * The file after a power cut. Each sector holds one of the states it went through since the last
   * force, chosen alone; so does the size; data beyond the size is gone, size beyond data is zero.
   */
  crash(seed: number, inode: number): DiskFile {
    const survival = new Draws(seed, inode).pick(survivals);
    const changes = this.#unforced;
    const cutOf = (sector: number): number => {
      if (survival === 'nothing' || survival === 'size-only') return 0;
      if (survival === 'everything' || survival === 'data-only') return changes.length;
      return hash32(seed, inode, sector) % (changes.length + 1);
    };
    const sizeCut =
      survival === 'mixed'
        ? hash32(seed, inode) % (changes.length + 1)
        : survival === 'everything' || survival === 'size-only'
          ? changes.length
          : 0;
    const image = this.#durable.clone();
    for (const [index, { change }] of changes.entries()) {
      if (change.kind === 'resize') {
        if (index < sizeCut) image.resize(change.sizeBytes);
        continue;
      }
      storeSectors(image, change, (sector) => index < cutOf(sector));
      if (change.kind === 'write' && index < sizeCut) {
        image.sizeBytes = Math.max(image.sizeBytes, change.offsetBytes + change.bytes.byteLength);
      }
    }
    image.resize(image.sizeBytes);
    return this.#successor(image, inode);
  }

  /** The file as programs see it, all of it durable. */
  copy(inode: number): DiskFile {
    return this.#successor(this.image.clone(), inode);
  }

  #successor(image: SectorImage, inode: number): DiskFile {
    const file = new DiskFile(inode, this.kind, image);
    file.modifiedMs = this.modifiedMs;
    file.#spoiled.push(...this.#spoiled);
    return file;
  }
}

function storeSectors(
  image: SectorImage,
  change: Exclude<ContentChange, { kind: 'resize' }>,
  keep: (sector: number) => boolean,
): void {
  const lengthBytes = change.kind === 'write' ? change.bytes.byteLength : change.lengthBytes;
  const endBytes = change.offsetBytes + lengthBytes;
  for (let from = change.offsetBytes; from < endBytes; ) {
    const sector = Math.floor(from / SECTOR_BYTES);
    const to = Math.min(endBytes, (sector + 1) * SECTOR_BYTES);
    if (keep(sector)) {
      if (change.kind === 'zero') image.clear(from, to - from);
      else {
        const at = from - change.offsetBytes;
        image.store(change.bytes.subarray(at, at + to - from), from);
      }
    }
    from = to;
  }
}
