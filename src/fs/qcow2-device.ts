/** What a guest sees of a qcow2 image, read-only: the image at rest, or one of its snapshots. */
import { inflateRawSync, zstdDecompressSync } from 'node:zlib';
import {
  anyBlockSizes,
  checkRange,
  checkWritable,
  type Device,
  type DeviceExtent,
  type DeviceHints,
  type ExtentKind,
  ExtentList,
} from '../device/index.ts';
import { damaged } from './errors.ts';
import type { Cluster, Qcow2Map } from './qcow2-map.ts';
import { readBytes, readInto } from './read-bytes.ts';
import { TableCache } from './table-cache.ts';
import { zstdFrameBytes } from './zstd-frame.ts';

/** Clusters that were decompressed and may be asked for again, in parts. */
const UNPACKED_MAX = 16;
const PARTS = 32;

/** One cluster or several that lie behind each other in the file, or have the same kind. */
type Stretch = { readonly cluster: Cluster; readonly lengthBytes: number };

export type Qcow2DeviceOptions = {
  /** What is not in the image is read from there; borrowed. */
  readonly backing?: Device | undefined;
};

/** Borrows `file`: disposing the view leaves it open. Nobody may write to the image meanwhile. */
export function qcow2Device(file: Device, map: Qcow2Map, options: Qcow2DeviceOptions = {}): Device {
  return new Qcow2Device(file, map, options.backing);
}

class Qcow2Device implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = anyBlockSizes;
  readonly readOnly = true;
  readonly durable = true;
  readonly hints: DeviceHints;
  readonly #file: Device;
  readonly #map: Qcow2Map;
  readonly #backing: Device | undefined;
  readonly #clusterBytes: number;
  readonly #unpacked = new TableCache<Uint8Array>(UNPACKED_MAX);

  constructor(file: Device, map: Qcow2Map, backing: Device | undefined) {
    this.name = `qcow2:${file.name}`;
    this.sizeBytes = map.sizeBytes;
    this.hints = { rotational: file.hints.rotational, fastZero: false };
    this.#file = file;
    this.#map = map;
    this.#backing = backing;
    this.#clusterBytes = map.header.clusterBytes;
  }

  async read(target: Uint8Array, offsetBytes: number): Promise<void> {
    checkRange(this, target.byteLength, offsetBytes);
    for (let at = 0; at < target.byteLength; ) {
      const rest = target.byteLength - at;
      const { cluster, lengthBytes } = await this.#stretch(offsetBytes + at, rest);
      await this.#fill(target.subarray(at, at + lengthBytes), offsetBytes + at, cluster);
      at += lengthBytes;
    }
  }

  write(source: Uint8Array, offsetBytes: number): void {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
  }

  flush(): void {
    // Nothing can be written.
  }

  zero(lengthBytes: number, offsetBytes: number): void {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  trim(lengthBytes: number, offsetBytes: number): void {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    const endBytes = offsetBytes + lengthBytes;
    while (!list.full) {
      const at = list.atBytes;
      const empty = this.#emptyTable(at);
      if (empty > at) {
        await this.#absentExtents(list, Math.min(empty, endBytes));
        continue;
      }
      const { cluster, lengthBytes: part } = await this.#stretch(at, endBytes - at);
      if (cluster.kind === 'absent') await this.#absentExtents(list, at + part);
      else list.add(at + part, kindOf(cluster));
    }
    return list.extents;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // File and backing belong to whoever opened them.
  }

  /** Where the stretch without second tables ends that `at` is in; `at` if it is in none. */
  #emptyTable(at: number): number {
    const span = this.#map.tableSpanBytes;
    let table = Math.floor(at / span);
    const first = table;
    while (table < this.#map.tableCount && this.#map.tableOffset(table) === 0) table++;
    return table === first ? at : Math.min(this.sizeBytes, table * span);
  }

  /** The longest run from there on that one call answers; at most `lengthBytes` long. */
  async #stretch(offsetBytes: number, lengthBytes: number): Promise<Stretch> {
    const size = this.#clusterBytes;
    const index = Math.floor(offsetBytes / size);
    const skipped = offsetBytes - index * size;
    let cluster = await this.#map.cluster(index);
    if (cluster.kind === 'parts') return this.#part(cluster, skipped, lengthBytes);
    let total = size - skipped;
    for (let next = index + 1; total < lengthBytes; next++) {
      const following = await this.#map.cluster(next);
      if (!follows(cluster, following, (next - index) * size)) break;
      total += size;
    }
    if (cluster.kind === 'data') {
      cluster = { kind: 'data', offsetBytes: cluster.offsetBytes + skipped };
    }
    return { cluster, lengthBytes: Math.min(total, lengthBytes) };
  }

  /** A cluster of 32 parts, each of its own kind. */
  #part(
    { offsetBytes, allocated, zero }: Extract<Cluster, { kind: 'parts' }>,
    skipped: number,
    lengthBytes: number,
  ): Stretch {
    const partBytes = this.#clusterBytes / PARTS;
    const first = Math.floor(skipped / partBytes);
    const kindAt = (part: number) => {
      if (((zero >>> part) & 1) !== 0) return 'zero';
      return ((allocated >>> part) & 1) !== 0 ? 'data' : 'absent';
    };
    const kind = kindAt(first);
    let end = first + 1;
    while (end < PARTS && kindAt(end) === kind) end++;
    const total = Math.min(lengthBytes, end * partBytes - skipped);
    if (kind === 'absent') return { cluster: { kind }, lengthBytes: total };
    return { cluster: { kind, offsetBytes: offsetBytes + skipped }, lengthBytes: total };
  }

  async #fill(target: Uint8Array, offsetBytes: number, cluster: Cluster): Promise<void> {
    if (cluster.kind === 'data') {
      await this.#readData(target, cluster.offsetBytes);
    } else if (cluster.kind === 'compressed') {
      const from = offsetBytes % this.#clusterBytes;
      const bytes = await this.#unpack(cluster);
      target.set(bytes.subarray(from, from + target.byteLength));
    } else if (cluster.kind === 'absent' && this.#backing !== undefined) {
      const within = Math.max(0, this.#backing.sizeBytes - offsetBytes);
      const lengthBytes = Math.min(target.byteLength, within);
      const place = { offsetBytes, lengthBytes, what: 'data of the backing file' };
      if (lengthBytes > 0) await readInto(this.#backing, target.subarray(0, lengthBytes), place);
      target.fill(0, lengthBytes);
    } else {
      target.fill(0);
    }
  }

  /** The last cluster of a file may be cut short, and is zero behind that; no other may. */
  async #readData(target: Uint8Array, offsetBytes: number): Promise<void> {
    const lengthBytes = Math.min(target.byteLength, this.#file.sizeBytes - offsetBytes);
    const lastBytes = Math.floor((this.#file.sizeBytes - 1) / this.#clusterBytes);
    const last = Math.floor((offsetBytes + target.byteLength - 1) / this.#clusterBytes);
    if (last > lastBytes) throw damaged(`${this.#file.name}: data behind the end of the file`);
    const place = { offsetBytes, lengthBytes, what: 'data' };
    if (lengthBytes > 0) await readInto(this.#file, target.subarray(0, lengthBytes), place);
    target.fill(0, Math.max(0, lengthBytes));
  }

  #unpack(cluster: Extract<Cluster, { kind: 'compressed' }>): Promise<Uint8Array> {
    const { offsetBytes, lengthBytes } = cluster;
    return this.#unpacked.get(offsetBytes, async () => {
      const place = { offsetBytes, lengthBytes, what: 'a compressed cluster' };
      const packed = await readBytes(this.#file, place);
      const unpacked = this.#decompress(packed, offsetBytes);
      if (unpacked.byteLength === this.#clusterBytes) return unpacked;
      throw damaged(`${this.#file.name}: the cluster at ${offsetBytes} is too short`);
    });
  }

  #decompress(packed: Uint8Array, offsetBytes: number): Uint8Array {
    const options = { maxOutputLength: this.#clusterBytes };
    try {
      if (this.#map.header.compression === 'zlib') return inflateRawSync(packed, options);
      return zstdDecompressSync(packed.subarray(0, zstdFrameBytes(packed)), options);
    } catch (cause) {
      const what = `${this.#file.name}: the cluster at ${offsetBytes} does not decompress`;
      throw Object.assign(damaged(what), { cause });
    }
  }

  async #absentExtents(list: ExtentList, endBytes: number): Promise<void> {
    const backing = this.#backing;
    while (!list.full && list.atBytes < endBytes) {
      const at = list.atBytes;
      if (backing === undefined || at >= backing.sizeBytes) {
        list.add(endBytes, 'hole');
        return;
      }
      const unit = backing.blockSizes.minimumBytes;
      const from = Math.floor(at / unit) * unit;
      const to = Math.min(backing.sizeBytes, Math.ceil(endBytes / unit) * unit);
      for (const extent of await backing.extents(to - from, from, 64)) {
        if (list.full) return;
        list.add(Math.min(endBytes, extent.offsetBytes + extent.lengthBytes), extent.kind);
      }
    }
  }
}

function kindOf(cluster: Cluster): ExtentKind {
  if (cluster.kind === 'zero') return cluster.offsetBytes === 0 ? 'hole' : 'zero';
  return cluster.kind === 'absent' ? 'hole' : 'data';
}

function follows(first: Cluster, next: Cluster, distanceBytes: number): boolean {
  if (first.kind !== next.kind) return false;
  if (first.kind === 'data' && next.kind === 'data') {
    return next.offsetBytes === first.offsetBytes + distanceBytes;
  }
  if (first.kind === 'zero' && next.kind === 'zero') {
    return (first.offsetBytes === 0) === (next.offsetBytes === 0);
  }
  return first.kind === 'absent';
}
