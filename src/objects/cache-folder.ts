/**
 * A bounded folder of copies on the local disk. A copy carries the hash of its bytes: one that was
 * changed, cut or mixed up is no copy. Trouble with the disk costs the copy, never the caller.
 */
import {
  EnvError,
  equalBytes,
  type Files,
  type Random,
  readFully,
  SHA256_BYTES,
  sha256,
  toHex,
  unlessMissing,
  writeFully,
} from '../core/index.ts';
import {
  CACHE_KEEP_SHARE,
  CACHE_MAGIC,
  CACHE_WAITING_BYTES_MAX,
  CACHED_BYTES_MAX,
} from './limits.ts';

export type CacheOptions = {
  readonly files: Files;
  readonly random: Random;
  /** Absolute; nothing else lies in it. */
  readonly directory: string;
  makeDirectory(): Promise<void>;
  readonly bytesMax: number;
  /** Told once: the folder cannot be used, everything is read from afar. */
  readonly onTrouble?: (error: EnvError) => void;
};

type Copy = { readonly sizeBytes: number; usedAt: number };

export class CacheFolder {
  readonly #options: CacheOptions;
  /** Copies that are there, as far as this process knows: others add and remove as well. */
  #copies: Promise<Map<string, Copy>> | undefined;
  #totalBytes = 0;
  #uses = 0;
  /** A disk that is full or broken is not asked again by this process. */
  #isUsable: boolean;
  #keeping: Promise<void> = Promise.resolve();
  #waitingBytes = 0;
  hits = 0;
  misses = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
    this.#isUsable = options.bytesMax > 0;
  }

  /** The bytes that were kept under this name, or undefined. */
  async find(name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const found = this.#isUsable ? await this.#read(nameOf(name), name, bytesMax) : undefined;
    if (found === undefined) this.misses++;
    else this.hits++;
    return found;
  }

  /** Keeps a copy; `bytes` is not touched after the call has returned. Settles at once. */
  keep(name: string, bytes: Uint8Array): void {
    if (!this.#isUsable || bytes.byteLength > CACHED_BYTES_MAX) return;
    // A disk that is slower than the network is not waited for.
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.byteLength > CACHE_WAITING_BYTES_MAX) {
      return;
    }
    const copy = encode(name, bytes);
    this.#waitingBytes += copy.byteLength;
    this.#keeping = this.#keeping
      .then(() => this.#keep(nameOf(name), copy))
      .finally(() => {
        this.#waitingBytes -= copy.byteLength;
      });
  }

  /** What was to be kept is on its way no more. */
  async settled(): Promise<void> {
    await this.#keeping;
  }

  #path(file: string): string {
    return `${this.#options.directory}/${file}`;
  }

  async #read(file: string, name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const { files } = this.#options;
    try {
      const open = await files.open(this.#path(file), 'read');
      try {
        const { sizeBytes } = await open.stat();
        if (sizeBytes > bytesMax + HEAD_BYTES + NAME_BYTES_MAX) return undefined;
        const stored = new Uint8Array(sizeBytes);
        const filledBytes = await readFully(open, stored, 0);
        const bytes = decode(name, stored.subarray(0, filledBytes));
        if (bytes === undefined) await files.remove(this.#path(file));
        else await this.#touch(file);
        return bytes;
      } finally {
        await open.close();
      }
    } catch (error) {
      // Not kept, gone meanwhile, or not readable: all the same.
      if (!(error instanceof EnvError)) throw error;
      return undefined;
    }
  }

  async #touch(file: string): Promise<void> {
    const copy = (await this.#copies)?.get(file);
    if (copy !== undefined) copy.usedAt = ++this.#uses;
  }

  async #keep(file: string, copy: Uint8Array): Promise<void> {
    if (!this.#isUsable) return;
    const { files, random } = this.#options;
    const suffix = new Uint8Array(8);
    random.fill(suffix);
    const temporary = this.#path(`${file}.${toHex(suffix)}`);
    try {
      this.#copies ??= this.#look();
      const copies = await this.#copies;
      await this.#makeRoom(copies, copy.byteLength);
      const open = await files.open(temporary, 'create');
      try {
        await writeFully(open, copy, 0);
      } finally {
        await open.close();
      }
      await files.rename(temporary, this.#path(file));
      this.#totalBytes += copy.byteLength - (copies.get(file)?.sizeBytes ?? 0);
      copies.set(file, { sizeBytes: copy.byteLength, usedAt: ++this.#uses });
    } catch (error) {
      if (!(error instanceof EnvError)) throw error;
      this.#isUsable = false;
      await files.remove(temporary).catch(() => undefined);
      this.#options.onTrouble?.(error);
    }
  }

  /** What earlier processes have kept; the oldest count as used first. */
  async #look(): Promise<Map<string, Copy>> {
    const { files, makeDirectory, directory } = this.#options;
    await makeDirectory();
    const found: { file: string; sizeBytes: number; modifiedMs: number }[] = [];
    for (const file of await files.list(directory)) {
      const stat = await unlessMissing(files.statEntry(this.#path(file)));
      if (stat !== undefined) found.push({ file, ...stat });
    }
    found.sort((a, b) => a.modifiedMs - b.modifiedMs);
    const copies = new Map<string, Copy>();
    for (const { file, sizeBytes } of found) {
      copies.set(file, { sizeBytes, usedAt: ++this.#uses });
      this.#totalBytes += sizeBytes;
    }
    return copies;
  }

  /** Drops those not used for longest, a good part at once: looking for them takes time. */
  async #makeRoom(copies: Map<string, Copy>, sizeBytes: number): Promise<void> {
    const { bytesMax, files } = this.#options;
    if (this.#totalBytes + sizeBytes <= bytesMax) return;
    const oldestFirst = [...copies].sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [file, copy] of oldestFirst) {
      if (this.#totalBytes + sizeBytes <= bytesMax * CACHE_KEEP_SHARE) return;
      await unlessMissing(files.remove(this.#path(file)));
      copies.delete(file);
      this.#totalBytes -= copy.sizeBytes;
    }
  }
}

/** Magic, length of the name, SHA-256 of all that follows; name; bytes. */
const HEAD_BYTES = 8 + SHA256_BYTES;
const NAME_BYTES_MAX = 400;

function nameOf(name: string): string {
  return toHex(sha256(new TextEncoder().encode(name)));
}

function encode(name: string, bytes: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  const copy = new Uint8Array(HEAD_BYTES + nameBytes.byteLength + bytes.byteLength);
  const view = new DataView(copy.buffer);
  view.setUint32(0, CACHE_MAGIC, true);
  view.setUint32(4, nameBytes.byteLength, true);
  copy.set(nameBytes, HEAD_BYTES);
  copy.set(bytes, HEAD_BYTES + nameBytes.byteLength);
  copy.set(sha256(copy.subarray(HEAD_BYTES)), 8);
  return copy;
}

function decode(name: string, copy: Uint8Array): Uint8Array | undefined {
  const nameBytes = new TextEncoder().encode(name);
  const from = HEAD_BYTES + nameBytes.byteLength;
  if (copy.byteLength < from) return undefined;
  const view = new DataView(copy.buffer, copy.byteOffset);
  if (view.getUint32(0, true) !== CACHE_MAGIC) return undefined;
  if (view.getUint32(4, true) !== nameBytes.byteLength) return undefined;
  if (!equalBytes(copy.subarray(HEAD_BYTES, from), nameBytes)) return undefined;
  if (!equalBytes(sha256(copy.subarray(HEAD_BYTES)), copy.subarray(8, HEAD_BYTES)))
    return undefined;
  return copy.subarray(from);
}
