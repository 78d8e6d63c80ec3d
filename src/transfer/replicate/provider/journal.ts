/** Journal: an append-only file of records on the provider's disk; those who wait share a sync. */
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import type { Parts } from '../../../codec/index.ts';
import {
  type Env,
  FormatError,
  hasCode,
  messageOf,
  type OpenFile,
  readFully,
  SharedRun,
  writeFully,
} from '../../../core/index.ts';
import { damagedJournal, ReplicateError } from '../errors.ts';
import { JOURNAL_HEADER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX } from '../limits.ts';
import { memory } from '../memory.ts';
import {
  decodeHeader,
  encodeHeader,
  encodeRecordHeader,
  type JournalFacts,
  NONCE_BYTES,
  type OnRecord,
  RECORD_HEADER_BYTES,
  type RecordPlace,
} from './journal-record.ts';
import { scanJournal } from './journal-scan.ts';

type Pending = { readonly parts: readonly Uint8Array[]; readonly endBytes: number };

/** What is rewritten at a time when a journal is taken up. */
const COPY_BYTES = 1024 * 1024;

export class Journal implements AsyncDisposable {
  readonly path: string;
  readonly #file: OpenFile;
  readonly #nonce: Uint8Array;
  /** With what waits to be written. */
  sizeBytes: number;
  /** What a power cut leaves. */
  durableBytes: number;
  #recordCount: number;
  #writtenBytes: number;
  #pending: Pending[] = [];
  readonly #shared = new SharedRun(() => this.#attempt());
  #failure: ReplicateError | undefined;
  #users = 0;
  #closing: PromiseWithResolvers<void> | undefined;

  private constructor(path: string, file: OpenFile, nonce: Uint8Array, sizeBytes: number) {
    this.path = path;
    this.#file = file;
    this.#nonce = nonce;
    this.sizeBytes = sizeBytes;
    this.durableBytes = sizeBytes;
    this.#writtenBytes = sizeBytes;
    this.#recordCount = 0;
  }

  /** A new file, durable under its name; what an earlier try left there is overwritten. */
  static async create(
    env: Env,
    path: string,
    facts: Omit<JournalFacts, 'nonce'>,
  ): Promise<Journal> {
    const nonce = new Uint8Array(NONCE_BYTES);
    env.random.fill(nonce);
    const header = encodeHeader({ ...facts, nonce });
    // A name whose sync failed in an earlier try would never become durable: it is made anew.
    await env.files.remove(path).catch((error: unknown) => {
      if (!hasCode(error, 'ENV_NOT_FOUND')) throw journalFailed(path, error);
    });
    const file = await env.files.open(path, 'create').catch((error: unknown) => {
      throw journalFailed(path, error);
    });
    try {
      await writeFully(file, header, 0);
      await file.sync();
      await env.files.syncDirectory(dirname(path));
      return new Journal(path, file, nonce, header.byteLength);
    } catch (error) {
      await file.close().catch(() => undefined); // The first error counts.
      throw journalFailed(path, error);
    }
  }

  /**
   * Takes a file up: tells all whole records in their order, cuts a torn end off, and makes durable
   * what is left. REPLICATE_JOURNAL if records that had been durable are not there any more.
   */
  static async open(
    env: Env,
    path: string,
    expected: Omit<JournalFacts, 'nonce'>,
    onRecord: OnRecord,
  ): Promise<Journal> {
    const file = await openExisting(env, path);
    try {
      const { nonce, endBytes: startBytes, ...facts } = await readHeader(file);
      if (facts.volume !== expected.volume || facts.sizeBytes !== expected.sizeBytes) {
        throw damagedJournal(
          path,
          `it is the journal of ${facts.volume}, ${facts.sizeBytes} bytes long`,
        );
      }
      const found = await scanJournal(file, { path, nonce, startBytes }, onRecord);
      // Written once more: a sync that failed in an earlier life leaves bytes that can be read, and
      // that no later sync makes durable.
      await rewrite(file, found.provenBytes, found.endBytes);
      await file.truncate(found.endBytes);
      await file.sync();
      const journal = new Journal(path, file, nonce, found.endBytes);
      journal.#recordCount = found.recordCount;
      return journal;
    } catch (error) {
      await file.close().catch(() => undefined); // The first error counts.
      if (error instanceof FormatError) throw damagedJournal(path, error.message, error);
      throw error;
    }
  }

  /** Reaches the disk with the next `durable`; the parts are given away until then. */
  append(type: number, payload: Parts): RecordPlace {
    const { parts } = payload;
    const payloadBytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    const number = this.#recordCount++;
    const { durableBytes } = this;
    const fields = { type, number, durableBytes, payloadBytes };
    const header = encodeRecordHeader(fields, this.#nonce, payload);
    const atBytes = this.sizeBytes + RECORD_HEADER_BYTES;
    this.sizeBytes = atBytes + payloadBytes;
    this.#pending.push({ parts: [header, ...parts], endBytes: this.sizeBytes });
    return { atBytes, payloadBytes };
  }

  /** Settles when all that was appended before is durable. REPLICATE_JOURNAL_FAILED for ever. */
  durable(): Promise<void> {
    return this.#shared.join();
  }

  /** Fills `target` with the payload of a record; whoever reads it verifies what is in it. */
  async read({ atBytes, payloadBytes }: RecordPlace, target: Uint8Array): Promise<void> {
    assert(target.byteLength === payloadBytes);
    assert(atBytes + payloadBytes <= this.#writtenBytes, 'a record that is not written yet');
    const got = await readFully(this.#file, target, atBytes);
    if (got !== payloadBytes)
      throw damagedJournal(this.path, `it ends in the record at ${atBytes}`);
  }

  /** Keeps the file open until the answer is called. */
  use(): () => void {
    this.#users += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#users -= 1;
      if (this.#users === 0) this.#closing?.resolve();
    };
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing !== undefined) return;
    this.#closing = Promise.withResolvers();
    if (this.#users === 0) this.#closing.resolve();
    await this.#shared.settled();
    await this.#closing.promise;
    await this.#file.close();
  }

  async #attempt(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      const group = this.#pending;
      if (group.length === 0) return;
      this.#pending = [];
      for (const { bytes, giveBack } of joined(group)) {
        await writeFully(this.#file, bytes, this.#writtenBytes);
        this.#writtenBytes += bytes.byteLength;
        giveBack?.();
      }
      await this.#file.sync();
      this.durableBytes = this.#writtenBytes;
    } catch (error) {
      this.#failure = journalFailed(this.path, error);
      throw this.#failure;
    }
  }
}

type Joined = { readonly bytes: Uint8Array; readonly giveBack?: () => void };

/** Small records in one call; a large one is not copied. */
function* joined(group: readonly Pending[]): Generator<Joined> {
  let small: Uint8Array[] = [];
  let smallBytes = 0;
  for (const part of group.flatMap(({ parts }) => parts)) {
    if (smallBytes + part.byteLength <= COPY_BYTES) {
      small.push(part);
      smallBytes += part.byteLength;
      continue;
    }
    if (smallBytes > 0) yield together(small, smallBytes);
    small = [];
    smallBytes = 0;
    if (part.byteLength > 0) yield { bytes: part };
  }
  if (smallBytes > 0) yield together(small, smallBytes);
}

function together(parts: readonly Uint8Array[], lengthBytes: number): Joined {
  const target = memory.take(lengthBytes);
  let at = 0;
  for (const part of parts) {
    target.set(part, at);
    at += part.byteLength;
  }
  return { bytes: target.subarray(0, lengthBytes), giveBack: () => memory.giveBack(target) };
}

async function openExisting(env: Env, path: string): Promise<OpenFile> {
  try {
    return await env.files.open(path, 'update');
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND')) throw damagedJournal(path, 'it is missing', error);
    throw error;
  }
}

async function readHeader(file: OpenFile) {
  const bytes = new Uint8Array(JOURNAL_HEADER_BYTES_MAX + 64);
  return decodeHeader(bytes.subarray(0, await readFully(file, bytes, 0)));
}

async function rewrite(file: OpenFile, fromBytes: number, endBytes: number): Promise<void> {
  for (let at = fromBytes; at < endBytes; at += COPY_BYTES) {
    const bytes = new Uint8Array(Math.min(COPY_BYTES, endBytes - at));
    await readFully(file, bytes, at);
    await writeFully(file, bytes, at);
  }
}

function journalFailed(path: string, cause: unknown): ReplicateError {
  const message = `${path} cannot be written: ${messageOf(cause)}`;
  return new ReplicateError('REPLICATE_JOURNAL_FAILED', message, {
    hint: 'Make room or repair the disk of the state directory; the agent tries again.',
    cause,
  });
}

assert(COPY_BYTES <= JOURNAL_RECORD_BYTES_MAX);
