/** What a source keeps of a volume between two runs: one small file, bound to a snapshot. */
import { posix } from 'node:path';
import {
  type Env,
  equalBytes,
  FerryError,
  fromHex,
  readStateFile,
  replaceStateFile,
  type StateFolder,
  sha256,
  toHex,
} from '../core/index.ts';
import type { Snapshot } from '../store/index.ts';
import type { CannotSayReason } from './change-source.ts';

/** The largest there is: the places of a bitmap of a million bits, in base64, and a few words. */
const MEMORY_BYTES_MAX = 4 * 1024 * 1024;
const VERSION = 1;

export type Forgotten = { readonly reason: CannotSayReason; readonly why: string };

export type Recalled<Value> = { readonly value: Value } | (Forgotten & { readonly old?: Value });

/** Which snapshot something was remembered at. */
export type At = Pick<Snapshot, 'id' | 'digest' | 'volume'>;

export class SourceMemory<Value> {
  readonly #env: Env;
  readonly #folder: StateFolder;
  readonly #name: string;
  readonly #parse: (value: unknown) => Value | undefined;

  /** `parse` answers undefined for what is no value: it is lost then, not believed. */
  constructor(
    env: Env,
    folder: StateFolder,
    name: string,
    parse: (value: unknown) => Value | undefined,
  ) {
    this.#env = env;
    this.#folder = folder;
    this.#name = name;
    this.#parse = parse;
  }

  /** What was kept at `since`, or why not; `stale` with what was kept at another snapshot. */
  async recall(since: At | undefined): Promise<Recalled<Value>> {
    if (since === undefined) return { reason: 'first', why: 'there is no snapshot yet' };
    let bytes: Uint8Array | undefined;
    try {
      bytes = await readStateFile(this.#env, this.#path, MEMORY_BYTES_MAX);
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      return { reason: 'lost', why: `what was kept cannot be read: ${error.message}` };
    }
    if (bytes === undefined) {
      return { reason: 'first', why: 'it was not looked at before the last snapshot' };
    }
    const kept = unsealed(bytes);
    const value = kept && this.#parse(kept.value);
    if (kept === undefined || value === undefined) {
      return { reason: 'lost', why: 'what was kept is damaged' };
    }
    if (kept.snapshot === since.id && kept.digest === since.digest) return { value };
    const named = `${since.volume}@${String(kept.snapshot).slice(0, 8)}`;
    const why = `what was kept is of ${named}, not of the newest snapshot`;
    return { reason: 'stale', why, old: value };
  }

  async remember({ id, digest }: At, value: Value): Promise<void> {
    await this.#folder.makeDirectory();
    const text = JSON.stringify({ version: VERSION, snapshot: id, digest, value });
    const bytes = new TextEncoder().encode(`${toHex(sha256(utf8(text)))}\n${text}\n`);
    await replaceStateFile(this.#env, this.#path, bytes);
  }

  get #path(): string {
    return posix.join(this.#folder.directory, `${this.#name}.json`);
  }
}

type Kept = { readonly snapshot: unknown; readonly digest: unknown; readonly value: unknown };

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A checksum in the first line, JSON in the second. */
function unsealed(bytes: Uint8Array): Kept | undefined {
  const [sum = '', text = ''] = new TextDecoder().decode(bytes).split('\n');
  const wanted = fromHex(sum, 32);
  if (wanted === undefined || !equalBytes(wanted, sha256(utf8(text)))) return undefined;
  const kept = JSON.parse(text) as Kept & { readonly version: unknown };
  return kept.version === VERSION ? kept : undefined;
}
