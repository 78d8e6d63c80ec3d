/**
 * A disk that lives: a database whose rows change all over it, its write-ahead log, logs that are
 * rotated, and much that stays. What `make-images.sh` does on its last day, day after day.
 */
import { type FileHandle, open } from 'node:fs/promises';

const MIB = 1024 * 1024;
const PAGE_BYTES = 4096;
const ROW_BYTES = 256;
const ROWS_PER_PAGE = PAGE_BYTES / ROW_BYTES;
const BODY_BYTES = 200;

const STILL_BYTES = 160 * MIB;
const PAGES_AT_FIRST = 12_288;
/** One row in so many is written anew each day. */
const UPDATED_EVERY = 97;
/** One page in so many is added each day. */
const ADDED_EVERY = 50;
const DAYS_MAX = 60;
const TABLE_BYTES = PAGES_AT_FIRST * PAGE_BYTES * (1 + DAYS_MAX / ADDED_EVERY);
const WAL_BYTES = 16 * MIB;
const LOG_BYTES = MIB;
const ROTATED_KEPT = 7;

const TABLE_AT = STILL_BYTES;
const WAL_AT = TABLE_AT + Math.ceil(TABLE_BYTES / MIB) * MIB;
const LOG_AT = WAL_AT + WAL_BYTES;
export const DISK_BYTES = LOG_AT + (1 + ROTATED_KEPT) * LOG_BYTES;

export type ChurnOptions = {
  readonly seed: number;
  /** Other rows each day, instead of the same ones (and one in so many of those that came). */
  readonly spread: boolean;
};

export class ChurnDisk {
  readonly #file: FileHandle;
  readonly #random: Uint32Array;
  #pages: Uint8Array[] = [];
  #log = new Uint8Array(0);
  #day = 0;
  readonly #spread: boolean;

  private constructor(file: FileHandle, { seed, spread }: ChurnOptions) {
    this.#file = file;
    this.#spread = spread;
    this.#random = Uint32Array.of(seed, seed ^ 0x9e3779b9, seed ^ 0x85ebca6b, 0xc2b2ae35);
  }

  static async create(path: string, options: ChurnOptions): Promise<ChurnDisk> {
    const disk = new ChurnDisk(await open(path, 'w'), options);
    await disk.#file.truncate(DISK_BYTES);
    for (let at = 0; at < STILL_BYTES; at += MIB) await disk.#write(disk.#still(), at);
    for (let page = 0; page < PAGES_AT_FIRST; page++) disk.#pages.push(disk.#newPage());
    await disk.#write(Buffer.concat(disk.#pages), TABLE_AT);
    await disk.#rotate();
    return disk;
  }

  /** The next day: rows change, some come, the log is rotated. */
  async age(): Promise<void> {
    this.#day++;
    const written = new Set<number>();
    const rows = this.#pages.length * ROWS_PER_PAGE;
    const first = this.#spread ? this.#day % UPDATED_EVERY : 0;
    for (let row = first; row < rows; row += UPDATED_EVERY) {
      const page = Math.floor(row / ROWS_PER_PAGE);
      this.#fillRow(this.#pages[page]!, row % ROWS_PER_PAGE);
      written.add(page);
    }
    for (let added = 0; added < PAGES_AT_FIRST / ADDED_EVERY; added++) {
      written.add(this.#pages.push(this.#newPage()) - 1);
    }
    const wal: Uint8Array[] = [];
    for (const page of written) {
      const bytes = this.#pages[page]!;
      await this.#write(bytes, TABLE_AT + page * PAGE_BYTES);
      const head = new Uint8Array(24);
      new DataView(head.buffer).setUint32(0, page, true);
      this.#fill(head.subarray(8));
      wal.push(head, bytes);
    }
    await this.#write(Buffer.concat(wal).subarray(0, WAL_BYTES), WAL_AT);
    await this.#rotate();
  }

  async close(): Promise<void> {
    await this.#file.sync();
    await this.#file.close();
  }

  /** A quarter does not compress, the rest by about half, as on a system disk. */
  #still(): Uint8Array {
    const bytes = new Uint8Array(MIB);
    this.#fill(bytes);
    for (let at = MIB / 4; at < MIB; at++) bytes[at] = 97 + (bytes[at]! & 15);
    return bytes;
  }

  #newPage(): Uint8Array {
    const page = new Uint8Array(PAGE_BYTES);
    for (let row = 0; row < ROWS_PER_PAGE; row++) this.#fillRow(page, row);
    return page;
  }

  #fillRow(page: Uint8Array, row: number): void {
    const bytes = page.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES);
    bytes.set(Buffer.from(`buyer ${this.#next() % 10_000}, 2026-01-${this.#day}`), BODY_BYTES);
    this.#fill(bytes.subarray(0, BODY_BYTES));
  }

  async #rotate(): Promise<void> {
    const slot = 1 + (this.#day % ROTATED_KEPT);
    if (this.#log.byteLength > 0) await this.#write(this.#log, LOG_AT + slot * LOG_BYTES);
    let text = '';
    while (text.length < LOG_BYTES) {
      const [a, b] = [this.#next(), this.#next()];
      text += `day ${this.#day} host daemon[${a % 900}]: request ${b} took ${a % 77} ms\n`;
    }
    this.#log = Buffer.from(text).subarray(0, LOG_BYTES);
    await this.#write(this.#log, LOG_AT);
  }

  async #write(bytes: Uint8Array, at: number): Promise<void> {
    await this.#file.write(bytes, 0, bytes.byteLength, at);
  }

  #fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; at++) bytes[at] = this.#next() >>> 11;
  }

  /** xorshift128 (Marsaglia, 2003): the same disk for the same seed. */
  #next(): number {
    const state = this.#random;
    let word = state[3]!;
    word ^= word << 11;
    word ^= word >>> 8;
    state.copyWithin(1, 0, 3);
    state[0] = word ^ state[1]! ^ (state[1]! >>> 19);
    return state[0];
  }
}
