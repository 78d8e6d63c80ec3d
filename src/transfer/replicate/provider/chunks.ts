/** Chunks of the tenant's repository, by the SHA-256 of their plain bytes. */
import { signer } from '../../../codec/index.ts';
import { equalBytes, hasCode, sha256 } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { ChunkReader, Location, Repository, Snapshot } from '../../../store/index.ts';
import { ReplicateError } from '../errors.ts';
import { CHUNKS_KEPT_BYTES } from '../limits.ts';

const known = new WeakMap<Repository, Chunks>();

/** The same for all who ask for those of a repository: what is kept of it is bounded once. */
export function chunksOf(repository: Repository): Chunks {
  let chunks = known.get(repository);
  if (chunks === undefined) {
    chunks = new Chunks(repository);
    known.set(repository, chunks);
  }
  return chunks;
}

/** Of a repository, for all of its replicas. */
export class Chunks {
  readonly #repository: Repository;
  readonly #idOf: (hash: Uint8Array) => Uint8Array;
  #reader: Promise<ChunkReader> | undefined;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#idOf = signer(repository.objects.sealer.chunkSigning).idOf;
  }

  /** How long the chunk is; undefined if it is not here, or will soon be gone. */
  async find(hash: Uint8Array): Promise<number | undefined> {
    const found = await this.#locate(hash);
    return found?.table.rawBytes[found.ordinal];
  }

  /** It is here, and stays: what a snapshot in the making has stored goes if that is killed. */
  async isSure(hash: Uint8Array): Promise<boolean> {
    const found = await this.#locate(hash);
    const { uncommitted } = await this.#repository.index();
    return found !== undefined && !uncommitted.has(found.packId);
  }

  async #locate(hash: Uint8Array): Promise<Location | undefined> {
    const index = await this.#repository.index();
    const found = await index.find(this.#idOf(hash));
    return found === undefined || index.isCondemned(found.pack) ? undefined : found;
  }

  /** Verified. REPLICATE_UNKNOWN_CONTENT, or why it cannot be read. */
  async read(hash: Uint8Array, lengthBytes: number): Promise<Uint8Array> {
    const bytes = await this.#chunk(hash);
    if (bytes.byteLength === lengthBytes && equalBytes(sha256(bytes), hash)) return bytes;
    throw new ReplicateError('REPLICATE_UNKNOWN_CONTENT', 'a chunk is not what was referred to', {
      hint: 'Run `ferry check --read-data` on the repository.',
    });
  }

  /** A snapshot as a device. */
  async device(snapshot: Snapshot): Promise<Device> {
    return await this.#repository.device(snapshot, { reader: await this.#opened() });
  }

  #opened(): Promise<ChunkReader> {
    this.#reader ??= this.#repository.chunkReader(CHUNKS_KEPT_BYTES).catch((error: unknown) => {
      this.#reader = undefined;
      throw error;
    });
    return this.#reader;
  }

  async #chunk(hash: Uint8Array): Promise<Uint8Array> {
    const id = this.#idOf(hash);
    const reader = await this.#opened();
    try {
      return await reader.chunk(id);
    } catch (error) {
      if (!hasCode(error, 'STORE_MISSING')) throw error;
      // Garbage collection may have moved it to another pack.
      await this.#repository.refresh();
      await this.#repository.index();
      return await reader.chunk(id);
    }
  }
}
