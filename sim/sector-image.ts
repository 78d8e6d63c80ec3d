/** The content of a simulated file: sparse pages that read as zero where nothing was written. */
import assert from 'node:assert/strict';

export const PAGE_BYTES = 4096;
/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;

export type ContentChange =
  | { readonly kind: 'write'; readonly offsetBytes: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'resize'; readonly sizeBytes: number };

export class SectorImage {
  sizeBytes = 0;
  readonly #pages = new Map<number, Uint8Array>();

  get pageCount(): number {
    return this.#pages.size;
  }

  clone(): SectorImage {
    const copy = new SectorImage();
    copy.sizeBytes = this.sizeBytes;
    for (const [index, page] of this.#pages) copy.#pages.set(index, page.slice());
    return copy;
  }

  /** Fills what lies before the end and says how much that was. */
  read(target: Uint8Array, offsetBytes: number): number {
    const lengthBytes = Math.max(0, Math.min(target.byteLength, this.sizeBytes - offsetBytes));
    for (const { page, from, to, at } of pagesOf(lengthBytes, offsetBytes)) {
      const bytes = this.#pages.get(page);
      if (bytes === undefined) target.fill(0, at, at + to - from);
      else target.set(bytes.subarray(from, to), at);
    }
    return lengthBytes;
  }

  /** Puts bytes on their pages; `sizeBytes` is not touched. */
  store(source: Uint8Array, offsetBytes: number): void {
    for (const { page, from, to, at } of pagesOf(source.byteLength, offsetBytes)) {
      let bytes = this.#pages.get(page);
      if (bytes === undefined) {
        bytes = new Uint8Array(PAGE_BYTES);
        this.#pages.set(page, bytes);
      }
      bytes.set(source.subarray(at, at + to - from), from);
    }
  }

  /** Zeroes a range; whole pages are given back. */
  clear(offsetBytes: number, lengthBytes: number): void {
    for (const { page, from, to } of pagesOf(lengthBytes, offsetBytes)) {
      if (from === 0 && to === PAGE_BYTES) this.#pages.delete(page);
      else this.#pages.get(page)?.fill(0, from, to);
    }
  }

  /** Everything beyond a new end is forgotten, so that growing again shows zeroes. */
  resize(sizeBytes: number): void {
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0);
    for (const page of this.#pages.keys()) {
      if (page * PAGE_BYTES >= sizeBytes) this.#pages.delete(page);
    }
    const within = sizeBytes % PAGE_BYTES;
    this.#pages.get((sizeBytes - within) / PAGE_BYTES)?.fill(0, within);
    this.sizeBytes = sizeBytes;
  }

  apply(change: ContentChange): void {
    if (change.kind === 'resize') this.resize(change.sizeBytes);
    else if (change.kind === 'zero') this.clear(change.offsetBytes, change.lengthBytes);
    else {
      this.store(change.bytes, change.offsetBytes);
      this.sizeBytes = Math.max(this.sizeBytes, change.offsetBytes + change.bytes.byteLength);
    }
  }

  /** How many bytes of a write fit when only `pagesFree` more pages may be taken. */
  fitting(lengthBytes: number, offsetBytes: number, pagesFree: number): number {
    let free = pagesFree;
    for (const { page, at } of pagesOf(lengthBytes, offsetBytes)) {
      if (this.#pages.has(page)) continue;
      if (free === 0) return at;
      free--;
    }
    return lengthBytes;
  }

  nextData(offsetBytes: number): { offsetBytes: number; lengthBytes: number } | undefined {
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    let start = Number.POSITIVE_INFINITY;
    for (const page of this.#pages.keys()) {
      if (page >= first && page < start) start = page;
    }
    const startBytes = Math.max(offsetBytes, start * PAGE_BYTES);
    if (startBytes >= this.sizeBytes) return undefined;
    let end = start + 1;
    while (this.#pages.has(end)) end++;
    const endBytes = Math.min(end * PAGE_BYTES, this.sizeBytes);
    return { offsetBytes: startBytes, lengthBytes: endBytes - startBytes };
  }

  flipBit(bit: number): void {
    const offsetBytes = Math.floor(bit / 8);
    assert(offsetBytes < this.sizeBytes, `bit ${bit} lies beyond the end, ${this.sizeBytes} bytes`);
    const byte = new Uint8Array(1);
    this.read(byte, offsetBytes);
    byte[0]! ^= 1 << (bit % 8);
    this.store(byte, offsetBytes);
  }
}

type PagePart = { page: number; from: number; to: number; at: number };

function* pagesOf(lengthBytes: number, offsetBytes: number): Generator<PagePart> {
  for (let at = 0; at < lengthBytes; ) {
    const page = Math.floor((offsetBytes + at) / PAGE_BYTES);
    const from = offsetBytes + at - page * PAGE_BYTES;
    const to = Math.min(PAGE_BYTES, from + lengthBytes - at);
    yield { page, from, to, at };
    at += to - from;
  }
}
