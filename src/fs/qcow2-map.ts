/** Which part of a qcow2 file holds which cluster: the two levels of its tables. */
import type { Device } from '../device/index.ts';
import { damaged } from './errors.ts';
import { Fields } from './fields.ts';
import { TABLE_CACHE_BYTES } from './limits.ts';
import type { Qcow2Header, Qcow2Table } from './qcow2-header.ts';
import { readFields } from './read-bytes.ts';
import { TableCache } from './table-cache.ts';

const OFFSET_HIGH = 0x00ffffff; // Bits 32 to 55 of an entry.
const OFFSET_LOW = 0xfffffe00; // Bits 9 to 31.
const COMPRESSED_HIGH = 0x40000000; // Bit 62.
const ZERO_LOW = 1;
const SECTOR_BYTES = 512;

/** What an image says of one cluster. */
export type Cluster =
  | { readonly kind: 'absent' }
  /** `offsetBytes` 0: no room is kept for it. */
  | { readonly kind: 'zero'; readonly offsetBytes: number }
  | { readonly kind: 'data'; readonly offsetBytes: number }
  | { readonly kind: 'compressed'; readonly offsetBytes: number; readonly lengthBytes: number }
  | {
      readonly kind: 'parts';
      readonly offsetBytes: number;
      readonly allocated: number;
      readonly zero: number;
    };

const absent: Cluster = { kind: 'absent' };

/** Reads tables as they are needed; a view of the image at rest, or of one of its snapshots. */
export class Qcow2Map {
  readonly header: Qcow2Header;
  readonly table: Qcow2Table;
  readonly #file: Device;
  readonly #l1: Fields;
  readonly #entryBytes: number;
  readonly #l2Entries: number;
  readonly #cache: TableCache<Fields>;

  /** Use `readQcow2Map`. */
  constructor(file: Device, header: Qcow2Header, table: Qcow2Table, l1: Fields) {
    this.#file = file;
    this.header = header;
    this.table = table;
    this.#l1 = l1;
    this.#entryBytes = header.hasSubclusters ? 16 : 8;
    this.#l2Entries = header.clusterBytes / this.#entryBytes;
    this.#cache = new TableCache(TABLE_CACHE_BYTES / header.clusterBytes);
  }

  get sizeBytes(): number {
    return this.table.sizeBytes;
  }

  /** The bytes of the first table, not a copy. */
  get firstTable(): Uint8Array {
    return this.#l1.bytes;
  }

  /** How much of the volume one second table maps. */
  get tableSpanBytes(): number {
    return this.#l2Entries * this.header.clusterBytes;
  }

  /** How many second tables the volume takes. */
  get tableCount(): number {
    return Math.ceil(this.sizeBytes / this.tableSpanBytes);
  }

  /** Where the second table of that number is; 0 if it has none. */
  tableOffset(index: number): number {
    if (index * 8 >= this.#l1.length) return 0;
    return this.#aligned(this.#l1, index * 8, `entry ${index} of the first table`);
  }

  async cluster(index: number): Promise<Cluster> {
    const table = Math.floor(index / this.#l2Entries);
    const offsetBytes = this.tableOffset(table);
    if (offsetBytes === 0) return absent;
    return this.#entry(await this.#l2(offsetBytes), index % this.#l2Entries);
  }

  /** All clusters of one second table; undefined if it has none. */
  async clusters(table: number): Promise<Cluster[] | undefined> {
    const offsetBytes = this.tableOffset(table);
    if (offsetBytes === 0) return undefined;
    const l2 = await this.#l2(offsetBytes);
    return Array.from({ length: this.#l2Entries }, (_, at) => this.#entry(l2, at));
  }

  #l2(offsetBytes: number): Promise<Fields> {
    return this.#cache.get(offsetBytes, () => {
      const what = `${this.#file.name}: a second table`;
      const lengthBytes = this.header.clusterBytes;
      return readFields(this.#file, { offsetBytes, lengthBytes, what }, 'big');
    });
  }

  #entry(l2: Fields, index: number): Cluster {
    const at = index * this.#entryBytes;
    const high = l2.high(at);
    const low = l2.low(at);
    if ((high & COMPRESSED_HIGH) !== 0) return this.#compressed(high, low);
    const what = `entry ${index} of a second table`;
    const offsetBytes = this.#aligned(l2, at, what);
    if (this.header.hasSubclusters) {
      const zero = l2.high(at + 8);
      const allocated = l2.low(at + 8);
      if (zero === 0 && allocated === 0) return absent;
      if ((zero & allocated) !== 0) throw damaged(`${this.#file.name}: ${what} contradicts itself`);
      if (allocated !== 0 && offsetBytes === 0) {
        throw damaged(`${this.#file.name}: ${what} points nowhere`);
      }
      return { kind: 'parts', offsetBytes, allocated, zero };
    }
    if (this.header.version === 3 && (low & ZERO_LOW) !== 0) return { kind: 'zero', offsetBytes };
    return offsetBytes === 0 ? absent : { kind: 'data', offsetBytes };
  }

  /** A descriptor of 62 bits: where, and how many more sectors than the one it begins in. */
  #compressed(high: number, low: number): Cluster {
    // From bit 62 - (cluster_bits - 8) on it is a count; for every cluster size above bit 32.
    const countShift = 62 - (this.header.clusterBits - 8) - 32;
    const rest = high & 0x3fffffff;
    const offsetBytes = (rest & (2 ** countShift - 1)) * 2 ** 32 + low;
    const sectors = (rest >>> countShift) + 1;
    const lengthBytes = sectors * SECTOR_BYTES - (offsetBytes % SECTOR_BYTES);
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes >= this.#file.sizeBytes) {
      throw damaged(`${this.#file.name}: a compressed cluster at ${offsetBytes}`);
    }
    return {
      kind: 'compressed',
      offsetBytes,
      lengthBytes: Math.min(lengthBytes, this.#file.sizeBytes - offsetBytes),
    };
  }

  #aligned(fields: Fields, at: number, what: string): number {
    const high = fields.high(at) & OFFSET_HIGH;
    const offsetBytes = high * 2 ** 32 + ((fields.low(at) & OFFSET_LOW) >>> 0);
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes % this.header.clusterBytes !== 0) {
      throw damaged(`${this.#file.name}: ${what} points to ${offsetBytes}`);
    }
    return offsetBytes;
  }
}

/** The tables of an image, or of a snapshot inside it. */
export async function readQcow2Map(
  file: Device,
  header: Qcow2Header,
  table = header.active,
): Promise<Qcow2Map> {
  const what = `${file.name}: the first table`;
  const place = { offsetBytes: table.l1OffsetBytes, lengthBytes: table.l1Count * 8, what };
  if (place.lengthBytes === 0) {
    return new Qcow2Map(file, header, table, new Fields(new Uint8Array(), what, 'big'));
  }
  return new Qcow2Map(file, header, table, await readFields(file, place, 'big'));
}

/** Whether two entries are about the same bytes of the file. */
export function sameCluster(a: Cluster, b: Cluster): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === 'absent' || b.kind === 'absent') return true;
  if (a.kind === 'zero' && b.kind === 'zero') return true;
  if (a.offsetBytes !== b.offsetBytes) return false;
  if (a.kind === 'compressed' && b.kind === 'compressed') return a.lengthBytes === b.lengthBytes;
  if (a.kind === 'parts' && b.kind === 'parts') {
    return a.allocated === b.allocated && a.zero === b.zero;
  }
  return true;
}
