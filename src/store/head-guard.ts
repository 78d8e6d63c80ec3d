/** Compares the log with the newest entry that was seen before: a log that went back is refused. */
import { FerryError, hasCode, sha256, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { StoreError } from './errors.ts';
import type { HeadMemory, KnownHead } from './head-memory.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import { logKey } from './log-entry.ts';
import { type SealedObjects, unsealJsonObject } from './sealer.ts';

/** What of the log's state is looked at. */
type Tail = { readonly sequence: number; readonly head: string };

export type HeadGuardOptions = {
  readonly objects: SealedObjects;
  readonly repositoryId: string;
  /** Without it only this process itself remembers, as long as it runs. */
  readonly memory?: HeadMemory;
  /** The memory could not be read or written: the repository is usable all the same. */
  readonly onTrouble?: (error: FerryError) => void;
  /** Told instead of thrown, for whoever only looks; writing is refused in any case. */
  readonly onRolledBack?: (error: StoreError) => void;
};

export class HeadGuard {
  readonly #options: HeadGuardOptions;
  #known: KnownHead | undefined;
  #rolledBack: StoreError | undefined;
  #troubled = false;

  constructor(options: HeadGuardOptions) {
    this.#options = options;
  }

  /**
   * To be called before the log is read: what was known by then must be in it. Later would be too
   * late, as another process may see an entry that came after our reading.
   */
  async recall(): Promise<void> {
    const { memory, repositoryId } = this.#options;
    const kept = await this.#trying(async () => memory?.recall(repositoryId));
    if (kept !== undefined && kept.sequence > (this.#known?.sequence ?? 0)) this.#known = kept;
  }

  /** After the log was read; `justRead` if the newest entry's object was part of that. */
  async check(tail: Tail, { justRead }: { readonly justRead: boolean }): Promise<void> {
    const known = this.#known;
    if (known !== undefined && !(await this.#contains(tail, known, justRead))) {
      const error = rolledBack(tail, known);
      this.#rolledBack = error;
      if (this.#options.onRolledBack === undefined) throw error;
      this.#options.onRolledBack(error);
      return;
    }
    if (this.#rolledBack === undefined) await this.moved(tail);
  }

  /** The log has this tail now, by our own reading or writing. */
  async moved({ sequence, head: hash }: Tail): Promise<void> {
    if (sequence <= (this.#known?.sequence ?? 0)) return;
    this.#known = { sequence, hash };
    const { memory, repositoryId } = this.#options;
    await this.#trying(async () => memory?.remember(repositoryId, { sequence, hash }));
  }

  /** Throws what was only told before. */
  checkWritable(): void {
    if (this.#rolledBack !== undefined) throw this.#rolledBack;
  }

  /** A person takes the log as it is. */
  async accept({ sequence, head: hash }: Tail): Promise<void> {
    const { memory, repositoryId } = this.#options;
    if (sequence > 0) await memory?.replace(repositoryId, { sequence, hash });
    this.#known = sequence > 0 ? { sequence, hash } : undefined;
    this.#rolledBack = undefined;
  }

  async #contains(tail: Tail, known: KnownHead, justRead: boolean): Promise<boolean> {
    if (tail.sequence < known.sequence) return false;
    if (tail.sequence === known.sequence && tail.head !== known.hash) return false;
    if (tail.sequence === known.sequence && justRead) return true;
    const { objects } = this.#options;
    const entry = await optional(() => objects.get(logKey(known.sequence), SMALL_OBJECT_BYTES_MAX));
    if (entry !== undefined && toHex(sha256(entry)) === known.hash) return true;
    if (entry === undefined || tail.sequence === known.sequence) return false;
    // The entry itself may be damaged: then the one behind it still says what it was.
    return (await this.#previousOf(known.sequence + 1)) === known.hash;
  }

  async #previousOf(sequence: number): Promise<string | undefined> {
    const key = logKey(sequence);
    const { objects } = this.#options;
    const bytes = await optional(() => objects.get(key, SMALL_OBJECT_BYTES_MAX));
    if (bytes === undefined) return undefined;
    try {
      const value = unsealJsonObject(objects.sealer, 'log', key, bytes);
      return new JsonFields(value, key).hex('previous', 32);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return undefined;
    }
  }

  /** Told once: every command would repeat itself otherwise. */
  async #trying<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      if (!this.#troubled) this.#options.onTrouble?.(error);
      this.#troubled = true;
      return undefined;
    }
  }
}

async function optional<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ObjectError && hasCode(error, 'OBJECT_NOT_FOUND')) return undefined;
    throw error;
  }
}

function rolledBack(tail: Tail, known: KnownHead): StoreError {
  const seen = `this machine has seen entry ${known.sequence} (${known.hash.slice(0, 16)})`;
  const found =
    tail.sequence < known.sequence
      ? `the log ends at entry ${tail.sequence}`
      : 'another or none is in its place';
  return new StoreError('STORE_ROLLED_BACK', `the log went back: ${seen}, but ${found}`, {
    hint:
      'Entries were lost, or an older copy was put in place. If you did that on purpose, run ' +
      '`ferry check --accept-rollback`.',
  });
}
