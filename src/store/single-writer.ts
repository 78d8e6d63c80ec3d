/**
 * Keeps a repository to one writer where the object store cannot: a server that overwrites what is
 * there would let two writers take the same number of the log, and one snapshot would be lost.
 */
import { type Env, type FileLock, hasCode, readFully, toHex, writeFully } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { sealJson, unsealJson } from './envelope.ts';
import { StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';

export type WriterOptions = {
  /** Absolute; what this node remembers of its own claims lies in it, a file per repository. */
  readonly directory: string;
  makeDirectory(): Promise<void>;
  /** Tells people which node it is. */
  readonly nodeName: string;
  /** A person has made sure that whoever wrote before has stopped. */
  readonly takeOver: boolean;
};

/** `writers/<n>`: the newest one tells who may write. */
type Claim = { readonly sequence: number; readonly nonce: string; readonly node: string };

/** What this node keeps: nonces of claims that are its own, if they came about. */
type Own = { readonly sequence: number; readonly nonces: readonly string[] };

const OWN_FILE_BYTES_MAX = 4096;

/**
 * The same objects; the first change claims the repository, and each commit looks whether it still
 * is ours. STORE_OWNED, STORE_BUSY. Adopts `inner`.
 */
export function singleWriterStore(
  env: Env,
  inner: ObjectStore,
  repositoryId: string,
  options: WriterOptions,
): ObjectStore {
  const claims = new Claims(env, inner, repositoryId, options);
  return {
    name: inner.name,
    ...(inner.readsInFlight !== undefined && { readsInFlight: inner.readsInFlight }),
    get: (key, bytesMax) => inner.get(key, bytesMax),
    getRange: (key, target, at, use) => inner.getRange(key, target, at, use),
    size: (key) => inner.size(key),
    list: (prefix, after) => inner.list(prefix, after),
    putIfAbsent: async (key, bytes) => {
      await claims.claim();
      if (key.startsWith('log/')) await claims.confirm();
      await inner.putIfAbsent(key, bytes);
    },
    create: async (key) => {
      await claims.claim();
      return inner.create(key);
    },
    remove: async (key) => {
      await claims.claim();
      await inner.remove(key);
    },
    [Symbol.asyncDispose]: async () => {
      await claims.release();
      await inner[Symbol.asyncDispose]();
    },
  };
}

class Claims {
  readonly #env: Env;
  readonly #objects: ObjectStore;
  readonly #options: WriterOptions;
  readonly #path: string;
  #claiming: Promise<Claim> | undefined;
  #lock: FileLock | undefined;

  constructor(env: Env, objects: ObjectStore, repositoryId: string, options: WriterOptions) {
    this.#env = env;
    this.#objects = objects;
    this.#options = options;
    this.#path = `${options.directory}/${repositoryId}`;
  }

  /** Once; a failure is not remembered. */
  claim(): Promise<Claim> {
    this.#claiming ??= this.#claim().catch(async (error) => {
      this.#claiming = undefined;
      await this.release();
      throw error;
    });
    return this.#claiming;
  }

  /** Nobody has claimed the repository since. */
  async confirm(): Promise<void> {
    const claim = await this.claim();
    const next = await this.#read(claim.sequence + 1);
    if (next !== undefined) throw this.#owned(next);
  }

  async release(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  async #claim(): Promise<Claim> {
    const { nodeName, takeOver, makeDirectory } = this.#options;
    await makeDirectory();
    this.#lock = await this.#env.files.lock(`${this.#path}.lock`);
    if (this.#lock === undefined) {
      throw new StoreError('STORE_BUSY', `another process of this node writes to ${this.#name}`, {
        hint: 'Wait for it: its server cannot keep two writers apart.',
      });
    }
    const own = await this.#recall();
    const newest = await this.#newest(own.sequence);
    const isOurs = newest === undefined || own.nonces.includes(newest.nonce);
    if (!isOurs && !takeOver) throw this.#owned(newest);
    const bytes = new Uint8Array(16);
    this.#env.random.fill(bytes);
    const nonce = toHex(bytes);
    const claim = { sequence: (newest?.sequence ?? 0) + 1, nonce, node: nodeName };
    // The file first, with both nonces: whichever claim is there after a crash is known as ours.
    const before = newest === undefined || !isOurs ? [] : [newest.nonce];
    await this.#remember({ sequence: claim.sequence, nonces: [nonce, ...before] });
    await this.#objects.putIfAbsent(claimKey(claim.sequence), sealJson('writer', claim));
    const found = await this.#read(claim.sequence);
    if (found?.nonce !== nonce) throw this.#owned(found ?? claim);
    // Claims of the past only cost room.
    if (newest !== undefined) await this.#objects.remove(claimKey(newest.sequence));
    return claim;
  }

  get #name(): string {
    return this.#objects.name;
  }

  #owned({ node, sequence }: Claim): StoreError {
    const message = `${this.#name} is written by ${node} (claim ${sequence}), not by this node`;
    return new StoreError('STORE_OWNED', message, {
      hint: 'Its server cannot keep two writers apart. Once that one has stopped: --takeover.',
    });
  }

  /** A listing may be stale: from what it shows on, names are asked for one by one. */
  async #newest(from: number): Promise<Claim | undefined> {
    let sequence = from;
    for await (const { key } of this.#objects.list('writers/')) {
      const listed = Number(key.slice('writers/'.length));
      if (key === claimKey(listed) && listed > sequence) sequence = listed;
    }
    let newest = sequence > 0 ? await this.#read(sequence) : undefined;
    for (;;) {
      const next = await this.#read(++sequence);
      if (next === undefined) return newest;
      newest = next;
    }
  }

  async #read(sequence: number): Promise<Claim | undefined> {
    const key = claimKey(sequence);
    let bytes: Uint8Array;
    try {
      bytes = await this.#objects.get(key, SMALL_OBJECT_BYTES_MAX);
    } catch (error) {
      if (hasCode(error, 'OBJECT_NOT_FOUND')) return undefined;
      throw error;
    }
    const fields = new JsonFields(unsealJson('writer', bytes, key), key);
    return { sequence, nonce: fields.hex('nonce', 16), node: fields.text('node') };
  }

  async #recall(): Promise<Own> {
    const { files } = this.#env;
    try {
      const file = await files.open(this.#path, 'read');
      try {
        const bytes = new Uint8Array(OWN_FILE_BYTES_MAX);
        const lengthBytes = await readFully(file, bytes, 0);
        return ownFrom(new TextDecoder().decode(bytes.subarray(0, lengthBytes)));
      } finally {
        await file.close();
      }
    } catch (error) {
      if (!hasCode(error, 'ENV_NOT_FOUND')) throw error;
      return { sequence: 0, nonces: [] };
    }
  }

  async #remember(own: Own): Promise<void> {
    const { files } = this.#env;
    const temporary = `${this.#path}.new`; // The lock is ours.
    const file = await files.open(temporary, 'write');
    try {
      await file.truncate(0);
      await writeFully(file, new TextEncoder().encode(`${JSON.stringify(own)}\n`), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, this.#path);
    await files.syncDirectory(this.#options.directory);
  }
}

/** A file that does not parse knows no claims: then only a person can say whose they are. */
function ownFrom(text: string): Own {
  try {
    const { sequence, nonces } = JSON.parse(text) as Partial<Own>;
    if (Number.isSafeInteger(sequence) && Array.isArray(nonces)) {
      return { sequence: sequence as number, nonces };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { sequence: 0, nonces: [] };
}

function claimKey(sequence: number): string {
  return `writers/${String(sequence).padStart(16, '0')}`;
}
