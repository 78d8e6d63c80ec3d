/** The commit log: finds its tail, reads what is new, appends; checkpoints make that quick. */
import { hasCode, type Random, sha256, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { damagedObject, missingObject, StoreError } from './errors.ts';
import type { HeadGuard } from './head-guard.ts';
import {
  CHECKPOINT_INTERVAL,
  COMMIT_ATTEMPTS_MAX,
  LARGE_OBJECT_BYTES_MAX,
  SMALL_OBJECT_BYTES_MAX,
} from './limits.ts';
import { entryFromJson, entryToJson, type LogEntry, logKey } from './log-entry.ts';
import { LogState } from './log-state.ts';
import { type SealedObjects, type Sealer, sealJsonObject, unsealJsonObject } from './sealer.ts';

/** What the writer says; the log adds place, predecessor and nonce. */
export type Proposal = Pick<LogEntry, 'snapshot' | 'index' | 'generation'>;

export class CommitLog {
  readonly #objects: SealedObjects;
  readonly #random: Random;
  readonly #guard: HeadGuard | undefined;
  state = new LogState();

  constructor(objects: SealedObjects, random: Random, guard?: HeadGuard) {
    this.#objects = objects;
    this.#random = random;
    this.#guard = guard;
  }

  /**
   * Reads everything that was committed since the last call, from the newest checkpoint first.
   * STORE_ROLLED_BACK if what was known to be in the log is not.
   */
  async refresh(): Promise<void> {
    const before = this.state.sequence;
    await this.#guard?.recall();
    await this.#read();
    await this.#guard?.check(this.state, { justRead: this.state.sequence > before });
  }

  async #read(): Promise<void> {
    if (this.state.sequence === 0) {
      const found = await this.#newestCheckpoint();
      // Another call may have come further meanwhile.
      if (found !== undefined && this.state.sequence === 0) this.state = found;
    }
    for (;;) {
      const sequence = this.state.sequence + 1;
      const bytes = await this.#entry(sequence);
      if (bytes === undefined) break;
      this.#apply(sequence, bytes);
    }
    await this.#checkEnd();
  }

  /** Takes the entry in; one that another call of this process took in meanwhile stays as it is. */
  #apply(sequence: number, bytes: Uint8Array): LogEntry {
    const key = logKey(sequence);
    const entry = readEntry(this.#objects.sealer, key, bytes);
    if (sequence > this.state.sequence) this.state.apply(entry, toHex(sha256(bytes)));
    return entry;
  }

  async #entry(sequence: number): Promise<Uint8Array | undefined> {
    try {
      return await this.#objects.get(logKey(sequence), SMALL_OBJECT_BYTES_MAX);
    } catch (error) {
      if (error instanceof ObjectError && error.code === 'OBJECT_NOT_FOUND') return undefined;
      throw error;
    }
  }

  /** The listing may be stale: it only ever shows that an entry is missing, never the end. */
  async #checkEnd(): Promise<void> {
    const end = logKey(this.state.sequence);
    let newest = '';
    for await (const { key } of this.#objects.list('log/')) {
      const genuine = key === logKey(Number(key.slice('log/'.length)));
      if (genuine && key > newest) newest = key;
    }
    if (newest <= end) return;
    const next = logKey(this.state.sequence + 1);
    // Somebody may have committed between our last read and the listing.
    if ((await this.#entry(this.state.sequence + 1)) !== undefined) return this.#read();
    throw missingObject(next);
  }

  /** Checkpoints only save reading: a damaged one is passed over here, and named by check. */
  async #newestCheckpoint(): Promise<LogState | undefined> {
    const keys: string[] = [];
    for await (const { key } of this.#objects.list('checkpoints/')) keys.push(key);
    for (const key of keys.sort().reverse()) {
      try {
        return await readCheckpoint(this.#objects, key);
      } catch (error) {
        if (!(error instanceof StoreError || error instanceof ObjectError)) throw error;
        if (error.code === 'STORE_VERSION') throw error;
      }
    }
    return undefined;
  }

  /**
   * Commits: `propose` is called with the newest state, again whenever another writer was faster.
   * It may throw when what it was going to say is no longer true.
   */
  async append(propose: (state: LogState) => Promise<Proposal>): Promise<LogEntry> {
    const nonce = new Uint8Array(16);
    this.#random.fill(nonce);
    for (let attempt = 0; attempt < COMMIT_ATTEMPTS_MAX; attempt++) {
      await this.refresh();
      const { sequence, head } = this.state;
      const proposal = await propose(this.state);
      if (this.state.sequence !== sequence) continue; // It was made for a state that is past.
      const place = { sequence: sequence + 1, previous: head, nonce: toHex(nonce) };
      const entry = await this.#try({ ...place, ...proposal });
      if (entry !== undefined) {
        await this.#guard?.moved(this.state);
        await this.#checkpoint();
        return entry;
      }
    }
    throw new StoreError('STORE_BUSY', 'other writers were always faster to commit', {
      hint: 'Run the command again: what was stored already is taken up.',
    });
  }

  /** Undefined if another writer has taken the place. */
  async #try(entry: LogEntry): Promise<LogEntry | undefined> {
    const { sequence, nonce } = entry;
    const { sealer } = this.#objects;
    const key = logKey(sequence);
    const bytes = sealJsonObject(sealer, 'log', key, entryToJson(entry, sealer));
    try {
      await this.#put(key, bytes);
    } catch (error) {
      if (!hasCode(error, 'OBJECT_EXISTS')) throw error;
      // The answer may have been lost although the entry is there: the nonce tells whose it is.
      const there = await this.#entry(sequence);
      if (there === undefined) throw error;
      const found = this.#apply(sequence, there);
      return found.nonce === nonce ? found : undefined;
    }
    return this.#apply(sequence, bytes);
  }

  /** A put that failed may have happened, but only OBJECT_EXISTS says that it is durable: ask. */
  async #put(key: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.#objects.putIfAbsent(key, bytes);
    } catch (error) {
      if (hasCode(error, 'OBJECT_EXISTS')) throw error;
      try {
        await this.#objects.putIfAbsent(key, bytes);
      } catch (again) {
        throw hasCode(again, 'OBJECT_EXISTS') ? again : error;
      }
    }
  }

  /** Best effort: the entry is committed, a checkpoint only makes opening quicker. */
  async #checkpoint(): Promise<void> {
    const { sequence } = this.state;
    if (sequence % CHECKPOINT_INTERVAL !== 0) return;
    const { sealer } = this.#objects;
    const key = checkpointKey(sequence);
    const bytes = sealJsonObject(sealer, 'checkpoint', key, this.state.toJson(sealer));
    try {
      await this.#objects.putIfAbsent(key, bytes);
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }
}

/** What the object `key` says; STORE_DAMAGED. */
export function readEntry(sealer: Sealer, key: string, bytes: Uint8Array): LogEntry {
  return entryFromJson(unsealJsonObject(sealer, 'log', key, bytes), key, sealer);
}

function checkpointKey(sequence: number): string {
  return `checkpoints/${String(sequence).padStart(16, '0')}`;
}

/** The state that a checkpoint holds; STORE_DAMAGED if it does not. */
export async function readCheckpoint(objects: SealedObjects, key: string): Promise<LogState> {
  const bytes = await objects.get(key, LARGE_OBJECT_BYTES_MAX);
  const { sealer } = objects;
  const value = unsealJsonObject(sealer, 'checkpoint', key, bytes);
  const state = LogState.fromJson(value, key, sealer);
  if (key !== checkpointKey(state.sequence)) throw damagedObject(key, 'it bears another name');
  return state;
}
