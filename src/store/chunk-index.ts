/** Finds records by their id: fingerprints in memory first, then the full id in a chunk table. */
import { patchLimitsAtFirst } from '../codec/index.ts';
import { equalBytes, type FerryError, SHA256_BYTES } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { ByteCache } from './byte-cache.ts';
import { missingObject, notFound, StoreError } from './errors.ts';
import { FINGERPRINT_BYTES, FingerprintTable, type PackPart } from './fingerprint-table.ts';
import { TABLE_CACHE_BYTES } from './limits.ts';
import { packKey, readPackTable } from './pack-file.ts';
import { type PackTable, RECORD_CHUNK } from './pack-table.ts';
import type { SealedObjects } from './sealer.ts';

/** Where a stored copy is: a pack of this index, and the record's number in it. */
export type Location = {
  readonly pack: number;
  readonly packId: string;
  readonly ordinal: number;
  readonly table: PackTable;
};

/** The first 4 bytes of an id, as the index compares them. `bits` is shortened by tests only. */
export type FingerprintBits = { readonly bits: number };

export class ChunkIndex {
  readonly #objects: SealedObjects;
  readonly #fingerprints = new FingerprintTable();
  readonly #packIds: string[] = [];
  readonly #packNumbers = new Map<string, number>();
  /** Tables of packs that this process is writing: not on disk yet, never evicted. */
  readonly #open = new Map<number, PackTable>();
  readonly #tables = new ByteCache<number, PackTable>(TABLE_CACHE_BYTES);
  readonly #loading = new Map<number, Promise<PackTable>>();
  readonly #dropped = new Set<number>();
  /** Packs that can be read, but that nobody may come to rely on. */
  #condemned: ReadonlySet<number> = new Set();
  /** Packs that the log does not name yet, and that are this process's to commit. */
  readonly uncommitted = new Set<string>();
  readonly #mask: number;
  /** Packs and segments that the log names and that could not be read, with the reason. */
  readonly unreadable = new Map<string, FerryError>();

  /** Manifests name chunks that are in no pack: see `LogState.lossy`. */
  lossy = false;

  /** What new patches of this repository keep to. */
  patchLimits = patchLimitsAtFirst;

  constructor(objects: SealedObjects, { bits }: FingerprintBits = { bits: 32 }) {
    this.#objects = objects;
    this.#mask = bits >= 32 ? 0xffffffff : 2 ** bits - 1;
  }

  get recordCount(): number {
    return this.#fingerprints.count;
  }

  hasPack(packId: string): boolean {
    return this.#packNumbers.has(packId);
  }

  packNumber(packId: string): number | undefined {
    return this.#packNumbers.get(packId);
  }

  reserve(records: number): void {
    this.#fingerprints.reserve(records);
  }

  /** Registers a pack; its records are added one by one. */
  addPack(packId: string, open?: PackTable): number {
    const number = this.#packIds.length;
    this.#packIds.push(packId);
    this.#packNumbers.set(packId, number);
    if (open !== undefined) {
      this.#open.set(number, open);
      this.uncommitted.add(packId);
    }
    return number;
  }

  /** The pack's records are found no more: it did not come about, or belongs to nobody yet. */
  dropPack(packId: string): void {
    const number = this.#packNumbers.get(packId);
    if (number === undefined) return;
    this.#packNumbers.delete(packId);
    this.uncommitted.delete(packId);
    this.#dropped.add(number);
    this.#open.delete(number);
    this.#tables.delete(number);
  }

  /** The pack is named but lost or damaged: other copies of what it held may still serve. */
  losePack(packId: string, error: FerryError): void {
    this.unreadable.set(packKey(packId), error);
    this.dropPack(packId);
  }

  packIds(): string[] {
    return [...this.#packNumbers.keys()];
  }

  packId(number: number): string {
    return this.#packIds[number]!;
  }

  /** From now on these, and no others, are condemned: copies elsewhere are preferred to theirs. */
  setCondemned(packIds: Iterable<string>): void {
    const condemned = new Set<number>();
    for (const packId of packIds) {
      const number = this.#packNumbers.get(packId);
      if (number !== undefined) condemned.add(number);
    }
    this.#condemned = condemned;
  }

  isCondemned(pack: number): boolean {
    return this.#condemned.has(pack);
  }

  /** The open pack `number` is on disk now. */
  packSealed(number: number): void {
    const table = this.#open.get(number);
    this.#open.delete(number);
    if (table !== undefined) this.#tables.set(number, table, table.sizeBytes);
  }

  /** `prefix` is the id's first 4 bytes, little-endian. */
  addRecord(pack: number, ordinal: number, prefix: number, checksum: number): void {
    this.#fingerprints.add((prefix & this.#mask) >>> 0, this.#short(checksum), pack, ordinal);
  }

  /** Adds many records, of which `memory` has room for all. */
  addParts(parts: readonly PackPart[], memory: Uint32Array): void {
    if (this.#mask === 0xffffffff) {
      this.#fingerprints.addAll(parts, memory);
      return;
    }
    for (const { pack, firstOrdinal, fingerprints } of parts) {
      const { buffer, byteOffset, byteLength } = fingerprints;
      const view = new DataView(buffer, byteOffset, byteLength);
      for (let at = 0; at < byteLength; at += FINGERPRINT_BYTES) {
        const ordinal = firstOrdinal + at / FINGERPRINT_BYTES;
        this.addRecord(pack, ordinal, view.getUint32(at, true), view.getUint32(at + 4, true));
      }
    }
  }

  /** Adds a pack with all records of its table. */
  addTable(packId: string, table: PackTable): void {
    const pack = this.addPack(packId);
    this.#fingerprints.reserve(table.count);
    for (let at = 0; at < table.count; at++) {
      this.addRecord(pack, at, prefixOf(table.ids, at * SHA256_BYTES), table.checksums[at]!);
    }
    this.#tables.set(pack, table, table.sizeBytes);
  }

  #short(checksum: number): number {
    return (checksum & this.#mask) >>> 0;
  }

  table(pack: number): PackTable | Promise<PackTable> {
    const known = this.#open.get(pack) ?? this.#tables.get(pack);
    if (known !== undefined) return known;
    let loading = this.#loading.get(pack);
    if (loading === undefined) {
      loading = readPackTable(this.#objects, this.#packIds[pack]!);
      this.#loading.set(pack, loading);
      loading.then(
        (table) => {
          this.#tables.set(pack, table, table.sizeBytes);
          this.#loading.delete(pack);
        },
        () => this.#loading.delete(pack),
      );
    }
    return loading;
  }

  async tableOf(packId: string): Promise<PackTable> {
    const number = this.#packNumbers.get(packId);
    return number === undefined ? readPackTable(this.#objects, packId) : this.table(number);
  }

  /** All copies whose fingerprint fits, as (pack, ordinal) pairs. */
  #candidates(prefix: number, checksum: number | undefined): number[] {
    const found: number[] = [];
    const short = checksum === undefined ? undefined : this.#short(checksum);
    this.#fingerprints.candidates((prefix & this.#mask) >>> 0, short, (pack, ordinal) => {
      if (!this.#dropped.has(pack)) found.push(pack, ordinal);
      return false;
    });
    return found;
  }

  /**
   * The stored copy of smallest depth with this id, or undefined; one in a condemned pack only if
   * there is no other. Answers at once if it can. A volume may hold the very bytes of a tree
   * record: its chunk is not that record.
   */
  find(
    id: Uint8Array,
    checksum?: number,
    kind: number | 'any' = RECORD_CHUNK,
  ): Location | undefined | Promise<Location | undefined> {
    const candidates = this.#candidates(prefixOf(id, 0), checksum);
    if (candidates.length === 0) return undefined;
    return this.#best(
      candidates,
      (table, ordinal) =>
        (kind === 'any' || table.kinds[ordinal] === kind) && equalBytes(table.id(ordinal), id),
    );
  }

  /** All copies that a patch's parent reference (CRC-32, first 8 id bytes) may mean. */
  findReference(reference: Uint8Array, depthBelow: number): Promise<Location[]> {
    return this.findBeginning(reference.subarray(4), prefixOf(reference, 0), depthBelow);
  }

  /** All copies of chunks whose id begins like that, of the checksum where it is given. */
  async findBeginning(
    beginning: Uint8Array,
    checksum: number | undefined,
    depthBelow: number,
  ): Promise<Location[]> {
    const found: Location[] = [];
    const candidates = this.#candidates(prefixOf(beginning, 0), checksum);
    for (let at = 0; at < candidates.length; at += 2) {
      const pack = candidates[at]!;
      const ordinal = candidates[at + 1]!;
      const table = await this.#tableUnlessLost(pack);
      if (table === undefined) continue;
      if (table.depths[ordinal]! >= depthBelow) continue;
      if (checksum !== undefined && table.checksums[ordinal] !== checksum) continue;
      if (table.kinds[ordinal] !== RECORD_CHUNK) continue;
      if (!equalBytes(table.id(ordinal).subarray(0, beginning.byteLength), beginning)) continue;
      found.push({ pack, packId: this.#packIds[pack]!, ordinal, table });
    }
    return found.sort((a, b) => this.#compare(a, b));
  }

  /** What is not condemned, smallest depth, smallest pack id: in whichever order they came in. */
  #compare(a: Location, b: Location): number {
    const worse = this.#rank(a.pack, a.table, a.ordinal) - this.#rank(b.pack, b.table, b.ordinal);
    if (worse !== 0 || a.packId === b.packId) return worse;
    return a.packId < b.packId ? -1 : 1;
  }

  /** The smaller the better: by depth, and behind all others what is condemned. */
  #rank(pack: number, table: PackTable, ordinal: number): number {
    return table.depths[ordinal]! + (this.#condemned.has(pack) ? CONDEMNED_RANK : 0);
  }

  /** Why nothing was found for `what`: not there, or in a pack that could not be read. */
  absent(what: string): FerryError {
    for (const error of this.unreadable.values()) if (error instanceof ObjectError) return error;
    const [cause] = this.unreadable.values();
    if (cause === undefined) return missingObject(what);
    return notFound(what, cause);
  }

  #best(
    candidates: number[],
    matches: Matches,
  ): Location | undefined | Promise<Location | undefined> {
    let best: Location | undefined;
    for (let at = 0; at < candidates.length; at += 2) {
      const table = this.table(candidates[at]!);
      if (table instanceof Promise) return this.#bestLater(candidates, matches);
      best = this.#better(best, candidates, at, table, matches);
    }
    return best;
  }

  async #bestLater(candidates: number[], matches: Matches): Promise<Location | undefined> {
    let best: Location | undefined;
    for (let at = 0; at < candidates.length; at += 2) {
      const table = await this.#tableUnlessLost(candidates[at]!);
      if (table !== undefined) best = this.#better(best, candidates, at, table, matches);
    }
    return best;
  }

  /** A lost pack costs what only it held; a store that fails is another matter. */
  async #tableUnlessLost(pack: number): Promise<PackTable | undefined> {
    try {
      return await this.table(pack);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.losePack(this.#packIds[pack]!, error);
      return undefined;
    }
  }

  #better(
    best: Location | undefined,
    candidates: number[],
    at: number,
    table: PackTable,
    matches: Matches,
  ): Location | undefined {
    const pack = candidates[at]!;
    const ordinal = candidates[at + 1]!;
    if (!matches(table, ordinal)) return best;
    const found = { pack, packId: this.#packIds[pack]!, ordinal, table };
    return best !== undefined && this.#compare(best, found) <= 0 ? best : found;
  }
}

/** More than any depth. */
const CONDEMNED_RANK = 256;

type Matches = (table: PackTable, ordinal: number) => boolean;

/** Four bytes as an unsigned little-endian number. */
export function prefixOf(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}
