/** An append-only file of records: those who wait for durability share one sync. */
import { dirname } from 'node:path';
import { crc32, type Env, type OpenFile, SharedRun, writeFully } from '../../core/index.ts';
import { TrackError } from '../errors.ts';
import { LOG_BYTES_MIN } from './limits.ts';
import {
  encodeFileHeader,
  encodeRecord,
  FILE_NONCE_BYTES,
  type FileHeader,
  RECORD_END,
  type Record,
} from './record.ts';

/** A file that was read to its end: what is in it, and how long it is, now and when it was made. */
export type LogEnd = {
  readonly nonce: Uint8Array;
  readonly recordCount: number;
  readonly sizeBytes: number;
  readonly wholeBytes: number;
};

export type NewFile = { readonly path: string } & Pick<FileHeader, 'kind' | 'shape'>;

/** Records gathered before they are written: large files in few calls. */
const WRITE_BYTES = 1024 * 1024;

/** Writes a whole file under its name beside the real one, durable; the caller renames. */
export class RecordWriter {
  readonly #file: OpenFile;
  readonly #nonceCrc: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #number = 0;
  /** The first record that waits to be written. */
  #group = 0;
  /** Bytes in the file, and those that wait. */
  sizeBytes = 0;

  private constructor(file: OpenFile, nonceCrc: number) {
    this.#file = file;
    this.#nonceCrc = nonceCrc;
  }

  /** Goes on with a file behind what it holds. */
  static async resume(env: Env, path: string, end: LogEnd): Promise<RecordWriter> {
    const writer = new RecordWriter(await env.files.open(path, 'update'), crc32(end.nonce));
    writer.#number = end.recordCount;
    writer.#group = end.recordCount;
    writer.sizeBytes = end.sizeBytes;
    return writer;
  }

  static async create(env: Env, { path, kind, shape }: NewFile): Promise<RecordWriter> {
    const nonce = new Uint8Array(FILE_NONCE_BYTES);
    env.random.fill(nonce);
    const file = await env.files.open(path, 'write');
    const writer = new RecordWriter(file, crc32(nonce));
    try {
      await file.truncate(0);
    } catch (error) {
      await file.close();
      throw error;
    }
    writer.#put(encodeFileHeader({ kind, shape, nonce }));
    return writer;
  }

  /** Only gathered; written by `write`. */
  add(record: Record): void {
    const place = { number: this.#number++, group: this.#group };
    this.#put(encodeRecord(this.#nonceCrc, place, record));
  }

  get isFull(): boolean {
    return this.#pendingBytes >= WRITE_BYTES;
  }

  /** Writes what was added before. One call at a time. */
  async write(): Promise<void> {
    if (this.#pendingBytes === 0) return;
    const bytes = Buffer.concat(this.#pending, this.#pendingBytes);
    const offsetBytes = this.sizeBytes - this.#pendingBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#group = this.#number;
    await writeFully(this.#file, bytes, offsetBytes);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #put(bytes: Uint8Array): void {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.byteLength;
    this.sizeBytes += bytes.byteLength;
  }
}

/**
 * The log: `append` gathers, `commit` settles when all that was appended before it is durable. One
 * write and sync runs at a time; who asks meanwhile shares the next one. After a failure nothing
 * can be promised any more, and every commit fails.
 */
export class RecordLog {
  readonly #env: Env;
  readonly #where: NewFile;
  /** Everything that must be in a new file, as it is at the call. */
  readonly #snapshot: () => Iterable<Record>;
  #writer: RecordWriter | undefined;
  #pending: Record[] = [];
  #rewriteAtBytes = 0;
  /** Of a file that is there, until it is opened. */
  #end: LogEnd | undefined;
  readonly #shared = new SharedRun(() => this.#attempt());
  #failure: TrackError | undefined;

  /** The first commit makes the file; with `end` it goes on with the one that is there. */
  constructor(env: Env, where: NewFile, snapshot: () => Iterable<Record>, end?: LogEnd) {
    this.#env = env;
    this.#end = end;
    if (end !== undefined) this.#rewriteAtBytes = rewriteAt(end.wholeBytes);
    this.#where = where;
    this.#snapshot = snapshot;
  }

  /** Reaches the disk with the next commit. */
  append(record: Record): void {
    this.#pending.push(record);
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  /** Makes the next commit write the file anew. */
  rewrite(): void {
    this.#rewriteAtBytes = 0;
  }

  commit(): Promise<void> {
    return this.#shared.join();
  }

  async close(): Promise<void> {
    await this.#shared.settled();
    await this.#writer?.close();
    this.#writer = undefined;
  }

  async #attempt(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      if (this.#end !== undefined) {
        this.#writer = await RecordWriter.resume(this.#env, this.#where.path, this.#end);
        this.#end = undefined;
        // Who made the file may have been ended before its name was durable.
        await this.#env.files.syncDirectory(dirname(this.#where.path));
      }
      if ((this.#writer?.sizeBytes ?? 0) >= this.#rewriteAtBytes) await this.#makeAnew();
      else {
        for (const record of this.#pending) this.#writer!.add(record);
        this.#pending = [];
        await this.#writer!.write();
        await this.#writer!.sync();
      }
    } catch (cause) {
      const message = `${this.#where.path} cannot be written: ${(cause as Error).message}`;
      const hint = 'Make room or repair the state directory; until then nothing is tracked.';
      this.#failure = new TrackError('TRACK_STATE', message, { hint, cause });
      throw this.#failure;
    }
  }

  async #makeAnew(): Promise<void> {
    const { path } = this.#where;
    this.#pending = []; // Part of the snapshot; what comes meanwhile is not.
    const old = this.#writer;
    this.#writer = await writeWhole(this.#env, this.#where, [...this.#snapshot()]);
    await this.#env.files.syncDirectory(dirname(path));
    this.#rewriteAtBytes = rewriteAt(this.#writer.sizeBytes);
    await old?.close();
  }
}

function rewriteAt(sizeBytes: number): number {
  return Math.max(LOG_BYTES_MIN, 2 * sizeBytes);
}

/** A durable file, with a mark at its end, once the directory is synced too; open for more. */
export async function writeWhole(
  env: Env,
  where: NewFile,
  records: Iterable<Record>,
): Promise<RecordWriter> {
  const temporary = `${where.path}.new`;
  const writer = await RecordWriter.create(env, { ...where, path: temporary });
  try {
    for (const record of records) {
      writer.add(record);
      if (writer.isFull) await writer.write();
    }
    writer.add({ type: RECORD_END, payload: new Uint8Array(0) });
    await writer.write();
    await writer.sync();
    await env.files.rename(temporary, where.path);
    return writer;
  } catch (error) {
    await writer.close().catch(() => undefined); // The first error counts.
    throw error;
  }
}
