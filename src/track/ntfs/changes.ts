/** What of an NTFS volume is as it was: clusters of files that nobody can have written. */
import { Bitmap } from '../../core/index.ts';
import {
  ATTRIBUTE,
  isBlank,
  type LogWalk,
  type Ntfs,
  type NtfsRecord,
  RECORD,
  RECORDS_OWN,
  usnRecords,
} from '../../fs/ntfs/index.ts';
import type { Forgotten } from '../source-memory.ts';
import type { NtfsFacts, Settled } from './facts.ts';
import { namesOf, OwnFiles, SLEEP_FILE } from './own-files.ts';

/** How a file begins into which Windows has gone to sleep. */
const ASLEEP = 'hibr';

export type NtfsChange = {
  /** As the last snapshot has it. */
  readonly before: Ntfs;
  readonly facts: NtfsFacts;
  readonly now: Settled;
  readonly walk: LogWalk;
  readonly signal?: AbortSignal | undefined;
};

/**
 * A bit for each cluster that belongs to a file whose records are the same to the byte, and that
 * no record of $UsnJrnl names: see docs/internals/tracking.md for why nothing else is called so.
 */
export async function unchangedClusters(change: NtfsChange): Promise<Bitmap | Forgotten> {
  const { now, facts, walk, before } = change;
  const { ntfs, journal } = now;
  const { name } = ntfs.device;
  const { serial, recordBytes } = before.boot;
  if (serial !== ntfs.boot.serial || recordBytes !== ntfs.boot.recordBytes) {
    return { reason: 'replaced', why: `${name} is another volume than in the last snapshot` };
  }
  const files = new Files(change);
  const doubt = await files.compare();
  if (doubt !== undefined) return doubt;
  for await (const { file } of usnRecords(journal, facts.usn.next)) {
    // Not one of this volume: then its numbers would mean nothing.
    if (!files.note(file.record)) {
      return { reason: 'failed', why: `$UsnJrnl of ${name} names record ${file.record} of $MFT` };
    }
  }
  const unchanged = await files.clusters();
  const odd = walk.clusters.find((cluster) => cluster < unchanged.size && unchanged.test(cluster));
  if (odd === undefined) return unchanged;
  const why = `${name} has logged a change of cluster ${odd}, in a file that has not changed`;
  return { reason: 'untold', why };
}

class Files {
  readonly #change: NtfsChange;
  readonly #ntfs: Ntfs;
  /** First records of files that are told; and each record that differs. */
  readonly #told: Bitmap;
  readonly #own: OwnFiles;
  #sleepFile: number | undefined;

  constructor(change: NtfsChange) {
    this.#change = change;
    this.#ntfs = change.now.ntfs;
    this.#told = new Bitmap(this.#ntfs.recordCount);
    this.#own = new OwnFiles(this.#ntfs);
  }

  /** False if there is no such file. */
  note(record: number): boolean {
    if (record >= this.#told.size) return false;
    this.#told.set(record);
    return true;
  }

  /** Notes files with a record that differs from the snapshot's, and those of the system. */
  async compare(): Promise<Forgotten | undefined> {
    const { before, signal } = this.#change;
    const { recordBytes } = this.#ntfs.boot;
    for await (const { first, count, bytes } of this.#pieces()) {
      signal?.throwIfAborted();
      const oldCount = Math.max(0, Math.min(count, before.recordCount - first));
      const old = oldCount > 0 ? await before.recordBytes(first, oldCount) : new Uint8Array(0);
      for (let index = 0; index < count; index++) {
        const [from, to] = [index * recordBytes, (index + 1) * recordBytes];
        const [was, is] = [old.subarray(from, to), bytes.subarray(from, to)];
        const differs = Buffer.compare(was, is) !== 0;
        if (differs && was.length > 0) this.#noteFile(before, first + index, was);
        const record = isBlank(is) ? undefined : this.#ntfs.parsed(first + index, is);
        if (differs) this.#noteFile(this.#ntfs, first + index, is, record);
        if (differs && this.#isUnlogged(record)) return this.#unlogged(first + index);
        if (record?.isInUse === true) await this.#noteOwn(record);
      }
    }
    return this.#asleep();
  }

  /** Everything that is not content of a file, or of a file that was noted, may have changed. */
  async clusters(): Promise<Bitmap> {
    const { clusterCount, recordBytes } = this.#ntfs.boot;
    const unchanged = new Bitmap(clusterCount);
    const others = new Bitmap(clusterCount);
    for await (const { first, count, bytes } of this.#pieces()) {
      this.#change.signal?.throwIfAborted();
      for (let index = 0; index < count; index++) {
        const own = bytes.subarray(index * recordBytes, (index + 1) * recordBytes);
        if (isBlank(own)) continue;
        const record = this.#ntfs.parsed(first + index, own);
        const isTold = this.#isTold(record);
        for (const { type, piece } of record.attributes) {
          const into = type === ATTRIBUTE.data && !isTold ? unchanged : others;
          for (const { cluster, count: length } of piece?.runs ?? []) {
            if (cluster !== undefined) into.setRange(cluster, length);
          }
        }
      }
    }
    // What two claim belongs to nobody.
    for (const [index, word] of others.words.entries()) unchanged.words[index]! &= ~word;
    return unchanged;
  }

  async *#pieces(): AsyncGenerator<{ first: number; count: number; bytes: Uint8Array }> {
    const { recordCount, recordsPerPiece } = this.#ntfs;
    for (let first = 0; first < recordCount; first += recordsPerPiece) {
      const count = Math.min(recordsPerPiece, recordCount - first);
      yield { first, count, bytes: await this.#ntfs.recordBytes(first, count) };
    }
  }

  #isTold({ number, base }: NtfsRecord): boolean {
    const file = base?.record ?? number;
    if (file < RECORDS_OWN || file >= this.#told.size) return true;
    return this.#told.test(number) || this.#told.test(file);
  }

  #noteFile(ntfs: Ntfs, number: number, bytes: Uint8Array, parsed?: NtfsRecord): void {
    this.note(number);
    if (isBlank(bytes)) return;
    const { base } = parsed ?? ntfs.parsed(number, bytes);
    if (base !== undefined) this.note(base.record);
  }

  /** A driver that logs gives each record that it changes the number of what it has logged. */
  #isUnlogged(record: NtfsRecord | undefined): boolean {
    const { facts, now } = this.#change;
    if (facts.log.openCount === now.facts.log.openCount) return true; // Nobody had it mounted.
    if (record === undefined) return false;
    const { number, lsn, isInUse } = record;
    if (number < RECORDS_OWN && number !== RECORD.root) return false;
    if (!isInUse && lsn === 0n) return false; // As $MFT was made larger; or never logged at all.
    return lsn <= BigInt(facts.log.lsn) || lsn > BigInt(now.facts.log.lsn);
  }

  #unlogged(number: number): Forgotten {
    const { name } = this.#ntfs.device;
    const why = `${name} was written without a journal: record ${number} of $MFT was changed`;
    return { reason: 'behind-its-back', why };
  }

  async #noteOwn(record: NtfsRecord): Promise<void> {
    const file = record.base?.record ?? record.number;
    for (const name of namesOf(record)) {
      if (await this.#own.has(name)) this.note(file);
      if (name.name === SLEEP_FILE) this.#sleepFile = file;
    }
  }

  async #asleep(): Promise<Forgotten | undefined> {
    if (this.#sleepFile === undefined) return undefined;
    const record = await this.#ntfs.record(this.#sleepFile);
    const content = await this.#ntfs.stream(record, ATTRIBUTE.data, '');
    if (content.dataBytes < ASLEEP.length) return undefined;
    const { bytes } = await content.read(0, ASLEEP.length);
    if (String.fromCharCode(...bytes).toLowerCase() !== ASLEEP) return undefined;
    return { reason: 'untold', why: `Windows sleeps in ${this.#ntfs.device.name} (hiberfil.sys)` };
  }
}
