/** The commit log: finds its tail, reads what is new, appends; checkpoints make that quick. */
import { hasCode, type Random, sha256, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { checkpointKey, readCheckpoint, sealCheckpoint } from './checkpoint.ts';
import { missingObject, StoreError } from './errors.ts';
import type { HeadGuard } from './head-guard.ts';
import {
  CHECKPOINT_BYTES_MAX,
  CHECKPOINT_INTERVAL,
  CHECKPOINT_SNAPSHOTS_MAX,
  CHECKPOINTS_TRIED_MAX,
  COMMIT_ATTEMPTS_MAX,
  LOG_READS_MAX,
  NEAR_LOG_READS,
  SMALL_OBJECT_BYTES_MAX,
} from './limits.ts';
import { type LogEntry, logKey, type Proposal, sealEntry, unsealEntry } from './log-entry.ts';
import { LogState, type Mark } from './log-state.ts';
import type { SealedObjects } from './sealer.ts';

export type { Proposal } from './log-entry.ts';

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
    await this.catchUp();
    await this.#checkEnd();
  }

  /** Reads the entries that are new; cheaper than `refresh`, which also looks for gaps. */
  async catchUp(): Promise<void> {
    const atOnceMax = Math.min(this.#objects.readsInFlight ?? NEAR_LOG_READS, LOG_READS_MAX);
    // Most often there is one or none; the longer it goes on, the more are asked for at once.
    for (let atOnce = 1; ; atOnce = Math.min(2 * atOnce, atOnceMax)) {
      const first = this.state.sequence + 1;
      const wanted = Array.from({ length: atOnce }, (_, number) => first + number);
      const entries = await Promise.all(wanted.map((sequence) => this.#entry(sequence)));
      for (const [number, bytes] of entries.entries()) {
        if (bytes === undefined) return;
        // Another call of this process may have come further meanwhile.
        if (first + number > this.state.sequence) this.#apply(first + number, bytes);
      }
    }
  }

  /** Takes the entry in; one that another call of this process took in meanwhile stays as it is. */
  #apply(sequence: number, bytes: Uint8Array): LogEntry {
    const key = logKey(sequence);
    const entry = unsealEntry(this.#objects.sealer, bytes, key);
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
    for await (const { key } of this.#objects.list('log/', end)) {
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
    const keys = await this.#checkpointKeys();
    for (const key of keys.sort().reverse().slice(0, CHECKPOINTS_TRIED_MAX)) {
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

  /**
   * Makes what was read durable. Whoever put the newest entry may have died before it was, and a
   * power cut would take it back: nothing may be removed because of it until then.
   */
  async settle(): Promise<void> {
    if (this.state.sequence > 0) await this.#objects.settle?.(logKey(this.state.sequence));
  }

  /** Undefined if another writer has taken the place. */
  async #try(entry: LogEntry): Promise<LogEntry | undefined> {
    const { sequence, nonce } = entry;
    const key = logKey(sequence);
    const bytes = sealEntry(this.#objects.sealer, entry);
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

  /**
   * Best effort: the entry is committed, a checkpoint only makes opening quicker. It says what is
   * new since another one, chosen as in a Fenwick tree: so a chain is as long as the logarithm of
   * the log, and what all of them say together grows with the log, not with its square.
   */
  async #checkpoint(): Promise<void> {
    const { state } = this;
    const { sealer } = this.#objects;
    // Without the key nobody can say what the log amounts to.
    if (state.sequence % CHECKPOINT_INTERVAL !== 0 || sealer.mode === 'blind') return;
    const number = state.sequence / CHECKPOINT_INTERVAL;
    const lowest = (number - lowestBit(number)) * CHECKPOINT_INTERVAL;
    const key = checkpointKey(state.sequence);
    try {
      const there = await this.#checkpointKeys();
      const base = standing(state.checkpoints, there).findLast((mark) => mark.sequence <= lowest);
      const bytes = sealCheckpoint(sealer, state, base);
      const fits = state.snapshots.size <= CHECKPOINT_SNAPSHOTS_MAX;
      if (!fits || bytes.byteLength > CHECKPOINT_BYTES_MAX) return; // Nobody would read it.
      await this.#objects.putIfAbsent(key, bytes);
      state.noteCheckpoint(base);
      const kept = new Set(state.checkpoints.map(({ sequence }) => checkpointKey(sequence)));
      for (const old of there) if (old < key && !kept.has(old)) await this.#objects.remove(old);
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }

  async #checkpointKeys(): Promise<string[]> {
    return Array.fromAsync(this.#objects.list('checkpoints/'), ({ key }) => key);
  }
}

/** Up to the first that another writer has removed. */
function standing(checkpoints: readonly Mark[], there: readonly string[]): readonly Mark[] {
  const gone = checkpoints.findIndex(({ sequence }) => !there.includes(checkpointKey(sequence)));
  return gone === -1 ? checkpoints : checkpoints.slice(0, gone);
}

function lowestBit(number: number): number {
  let bit = 1;
  while (number % (bit * 2) === 0) bit *= 2;
  return bit;
}
