/** Writes a $LogFile of version 1.1 to the published layout: restart pages, pages of records. */

const PAGE = 4096;
const SECTOR = 512;
const FIRST_PAGE = 4 * PAGE;
const DATA_AT = 0x40;
const HEADER = 0x30;
const NO_CLIENT = 0xffff;

export class NtfsLogWriter {
  openCount = 0x1234_5678;
  checkedLsn = 0n;
  lsn = 0n;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #sizeBytes: number;
  readonly #placeBits: number;
  #at = FIRST_PAGE + DATA_AT;
  #sequence = 1n;
  /** The page that is being filled, without its fixups. */
  #page = new Uint8Array(PAGE);
  #pageAt = FIRST_PAGE;
  #closes = 0;

  /** In one piece of an image. */
  constructor(bytes: Uint8Array, start: number, sizeBytes: number) {
    this.#bytes = bytes;
    this.#start = start;
    this.#sizeBytes = sizeBytes;
    // The number of a record is its place in eight bytes, below the number of the round.
    this.#placeBits = Math.ceil(Math.log2(sizeBytes + 1)) - 3;
  }

  open(): void {
    this.openCount = (this.openCount + 1) >>> 0;
    if (this.lsn !== 0n) this.#nextPage();
    this.append([], 2);
    this.#restart(false);
  }

  close(): void {
    this.append([], 2);
    this.#writePage();
    this.#restart(true);
  }

  /** Changes of these clusters are logged; `kind` 2 is for the log's own records. */
  append(clusters: readonly number[], kind = 1): bigint {
    const data = new Uint8Array(Math.max(0x28, 0x20 + clusters.length * 8));
    const own = new DataView(data.buffer);
    own.setUint16(0x0e, clusters.length, true);
    for (const [index, cluster] of clusters.entries()) {
      own.setBigUint64(0x20 + index * 8, BigInt(cluster), true);
    }
    return this.#record(data, kind);
  }

  /** A record of any length, over as many pages as that takes. */
  padded(lengthBytes: number): bigint {
    return this.#record(new Uint8Array(lengthBytes), 1);
  }

  /** Records go on further behind, and nothing leads there. */
  skipPages(count: number): void {
    for (let done = 0; done < count; done++) this.#nextPage(done === 0);
  }

  /** That record is another one. */
  forge(lsn: bigint): void {
    const at = Number(lsn & ((1n << BigInt(this.#placeBits)) - 1n)) * 8;
    this.#bytes[this.#start + at + 0x24]! ^= 1;
  }

  /** As `ntfs-3g` does when it mounts one that was not closed. */
  empty(): void {
    this.#bytes.fill(0xff, this.#start, this.#start + this.#sizeBytes);
  }

  /** A log that is new: another number of opens, another first record. */
  remake(openCount: number): void {
    this.empty();
    this.openCount = openCount;
    this.#sequence += 7n;
    this.#pageAt = FIRST_PAGE;
    this.#page = new Uint8Array(PAGE);
    this.#at = FIRST_PAGE + DATA_AT;
    this.append([], 2);
    this.close();
  }

  /** As Linux's ntfs3 does when it mounts: it counts, and logs nothing. */
  openBySilentDriver(): void {
    this.openCount = (this.openCount + 1) >>> 0;
    this.#restart(true);
  }

  writeRestart(isClean: boolean, change?: (page: DataView) => void): void {
    this.#restart(isClean, change);
  }

  #record(data: Uint8Array, kind: number): bigint {
    if (PAGE - (this.#at % PAGE) < HEADER || this.#at % PAGE === 0) this.#nextPage();
    const lsn = (this.#sequence << BigInt(this.#placeBits)) | BigInt(this.#at / 8);
    const record = new Uint8Array(HEADER + data.length);
    const view = new DataView(record.buffer);
    view.setBigUint64(0, lsn, true);
    view.setBigUint64(8, this.lsn, true);
    view.setUint32(0x18, data.length, true);
    view.setUint32(0x20, kind, true);
    record.set(data, HEADER);
    for (let done = 0; ; ) {
      const count = Math.min(record.length - done, PAGE - (this.#at - this.#pageAt));
      this.#page.set(record.subarray(done, done + count), this.#at - this.#pageAt);
      this.#at += count;
      done += count;
      if (done === record.length) break;
      this.#nextPage();
    }
    this.#at = Math.ceil(this.#at / 8) * 8;
    this.lsn = lsn;
    return lsn;
  }

  #nextPage(writes = true): void {
    if (writes) this.#writePage(true);
    this.#pageAt += PAGE;
    if (this.#pageAt + PAGE > this.#sizeBytes) {
      this.#pageAt = FIRST_PAGE;
      this.#sequence += 1n;
    }
    this.#page = new Uint8Array(PAGE);
    this.#at = this.#pageAt + DATA_AT;
  }

  /** A page that is not full goes to one of two places in front of the log, in turn. */
  #writePage(isFull = false): void {
    const page = this.#page.slice();
    const view = new DataView(page.buffer);
    const tail = 2 * PAGE + (this.#closes++ % 2) * PAGE;
    view.setBigUint64(8, isFull ? this.lsn : BigInt(this.#pageAt), true);
    view.setUint32(0x10, 1, true);
    view.setUint16(0x14, 1, true);
    view.setUint16(0x16, 1, true);
    view.setUint16(0x18, Math.min(this.#at - this.#pageAt, PAGE), true);
    view.setBigUint64(0x20, this.lsn, true);
    this.#write(page, 'RCRD', 0x28, isFull ? this.#pageAt : tail);
  }

  #restart(isClean: boolean, change?: (page: DataView) => void): void {
    for (const at of [0, PAGE]) {
      const page = new Uint8Array(PAGE);
      const view = new DataView(page.buffer);
      view.setBigUint64(8, this.checkedLsn, true);
      view.setUint32(0x10, PAGE, true);
      view.setUint32(0x14, PAGE, true);
      view.setUint16(0x18, 0x30, true);
      view.setUint16(0x1a, 1, true);
      view.setUint16(0x1c, 1, true);
      const area = 0x30;
      view.setBigUint64(area, this.lsn, true);
      view.setUint16(area + 8, 1, true);
      view.setUint16(area + 0x0a, isClean ? 0 : NO_CLIENT, true);
      view.setUint16(area + 0x0c, isClean ? NO_CLIENT : 0, true);
      view.setUint16(area + 0x0e, isClean ? 2 : 0, true);
      view.setUint32(area + 0x10, 64 - this.#placeBits, true);
      view.setUint16(area + 0x14, 0xe0, true);
      view.setUint16(area + 0x16, 0x40, true);
      view.setBigUint64(area + 0x18, BigInt(this.#sizeBytes), true);
      view.setUint16(area + 0x24, HEADER, true);
      view.setUint16(area + 0x26, DATA_AT, true);
      view.setUint32(area + 0x28, this.openCount, true);
      change?.(view);
      this.#write(page, 'RSTR', 0x1e, at);
    }
  }

  #write(page: Uint8Array, magic: string, sequenceAt: number, at: number): void {
    const view = new DataView(page.buffer);
    for (const [index, letter] of [...magic].entries()) page[index] = letter.charCodeAt(0);
    view.setUint16(4, sequenceAt, true);
    view.setUint16(6, PAGE / SECTOR + 1, true);
    view.setUint16(sequenceAt, 1, true);
    for (let sector = 0; sector < PAGE / SECTOR; sector++) {
      const end = (sector + 1) * SECTOR - 2;
      view.setUint16(sequenceAt + 2 + sector * 2, view.getUint16(end, true), true);
      view.setUint16(end, 1, true);
    }
    this.#bytes.set(page, this.#start + at);
  }
}
