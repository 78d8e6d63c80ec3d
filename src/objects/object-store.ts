/** The object store contract: immutable blobs under names, created once. */
import { FerryError } from '../core/index.ts';

export type ObjectErrorCode =
  | 'OBJECT_NOT_FOUND'
  | 'OBJECT_EXISTS'
  | 'OBJECT_RANGE'
  | 'OBJECT_NAME'
  /** Something that no store puts there stands under the name: a link, a FIFO, a directory. */
  | 'OBJECT_FOREIGN'
  | 'OBJECT_NO_SPACE'
  | 'OBJECT_ACCESS'
  /** The store does not answer, or not now; nothing is wrong with what was asked. */
  | 'OBJECT_UNAVAILABLE'
  | 'OBJECT_IO';

export class ObjectError extends FerryError<ObjectErrorCode> {
  override readonly name = 'ObjectError';
}

/**
 * Names:       `[a-z0-9][a-z0-9._-]*` segments joined by `/`, at most 200 bytes (OBJECT_NAME); the
 *              folder `tmp/` is the store's own. No name is also a folder of another.
 * Immutable:   an object never changes once it is there; delete and create again is never done
 *              under a name that a reader may know.
 * Durability:  once create, put or commit resolves, the object survives a power cut; before that it
 *              is absent or whole, never partial. A failed put or commit may still have made the
 *              object (whole) visible: the answer was lost. OBJECT_EXISTS says that the object is
 *              durable too, so that a writer may recognise its own. A removal is not forced.
 * Buffers:     given to the store until the call settles.
 */
export interface ObjectStore extends AsyncDisposable {
  /** Names it in messages, for example `directory:/backups`. */
  readonly name: string;

  /** Range reads worth having in flight where each takes its time; absent: as many as threads. */
  readonly readsInFlight?: number;

  /** The whole object. OBJECT_NOT_FOUND; OBJECT_RANGE if it is larger than `bytesMax`. */
  get(key: string, bytesMax: number): Promise<Uint8Array>;

  /**
   * Fills all of `target` from `offsetBytes` of the object; OBJECT_RANGE if it ends before. `use`
   * tells a cache what the bytes are for.
   */
  getRange(key: string, target: Uint8Array, offsetBytes: number, use?: RangeUse): Promise<void>;

  /** The size in bytes. OBJECT_NOT_FOUND. */
  size(key: string): Promise<number>;

  /** Creates a small object in one step. OBJECT_EXISTS if the name is taken, whatever its bytes. */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<void>;

  /** Starts a large object that is written in order. Nothing is visible before `commit`. */
  create(key: string): Promise<ObjectWriter>;

  /**
   * Keys that begin with `prefix` (a folder and its `/`, or ''), ascending; with `after` only those
   * above that name. May be stale.
   */
  list(prefix: string, after?: string): AsyncIterable<ObjectEntry>;

  /**
   * Only where an object can be seen before it is durable: forces what a process put that may have
   * died before. It cannot know that forcing it has failed there already.
   */
  settle?(key: string): Promise<void>;

  /** Absent objects are fine. */
  remove(key: string): Promise<void>;

  /**
   * Only where damaged objects can be put right: `key` was met damaged, and from now on is read as
   * it was written. False if that cannot be.
   */
  heal?(key: string): Promise<boolean>;

  /** Only where something dies with its process: elsewhere the living show that they change. */
  readonly locks?: StoreLocks;
}

/** Tells what belongs to a process that lives from what one left that died. */
export interface StoreLocks {
  /** Holds `name` until it is released or the process dies; undefined if somebody holds it. */
  take(name: string): Promise<StoreLock | undefined>;
  /** Removes unfinished files of processes that died; answers with their bytes. */
  sweep(): Promise<{ readonly files: number; readonly bytes: number }>;
}

export interface StoreLock {
  /** Harmless when done twice. */
  release(): Promise<void>;
}

/** `once`: one of very many that will hardly be asked for again soon. */
export type RangeUse = 'once' | 'again';

export type ObjectEntry = { readonly key: string; readonly sizeBytes: number };

/** Disposing without `commit` drops what was written. */
export interface ObjectWriter extends AsyncDisposable {
  /** Appends; calls must not overlap. */
  append(bytes: Uint8Array): Promise<void>;
  /**
   * Fills `target` with what was appended, from `offsetBytes` on; may be called beside `append`.
   * False once `commit` has begun. Absent where what was appended is not near.
   */
  readBack?(target: Uint8Array, offsetBytes: number): Promise<boolean>;
  /** Durable and visible, or OBJECT_EXISTS. */
  commit(): Promise<void>;
}
