/** Section cache: plain bytes of journals' data messages, read into memory that is used again. */
import type { Env } from '../../../core/index.ts';
import { decodeBlockData } from '../../../wire/index.ts';
import { SECTION_CACHE_BYTES } from '../limits.ts';
import { memory } from '../memory.ts';
import { plainOf } from '../plain-data.ts';
import type { Journal } from './journal.ts';
import type { RecordPlace } from './journal-record.ts';

type Section = {
  readonly ready: Promise<Uint8Array>;
  /** Given back once nobody finds the section any more, and nobody copies from it. */
  held: readonly Uint8Array<SharedArrayBuffer>[];
  users: number;
  isGone: boolean;
};

const known = new WeakMap<Env, SectionCache>();

/** One for all replicas of a process: its memory is what is bounded. */
export function sectionsOf(env: Env): SectionCache {
  let sections = known.get(env);
  if (sections === undefined) {
    sections = new SectionCache();
    known.set(env, sections);
  }
  return sections;
}

export class SectionCache {
  /** The least recently used come first. Those in use are bounded by who reads at a time. */
  readonly #sections = new Map<string, Section>();
  /** A journal that begins anew under its old path is another one. */
  readonly #numbers = new WeakMap<Journal, number>();
  #journals = 0;
  #heldBytes = 0;

  /**
   * Fills `target` with what stands at `skipBytes` of the records of the data message at `place`,
   * all of which are verified once more when they are read. REPLICATE_JOURNAL, REPLICATE_HASH.
   */
  async fill(
    target: Uint8Array,
    { journal, place }: { readonly journal: Journal; readonly place: RecordPlace },
    skipBytes: number,
  ): Promise<void> {
    const section = this.#take(journal, place);
    try {
      const bytes = await section.ready;
      target.set(bytes.subarray(skipBytes, skipBytes + target.byteLength));
    } finally {
      this.#release(section);
    }
  }

  #take(journal: Journal, place: RecordPlace): Section {
    const name = `${this.#numberOf(journal)}:${place.atBytes}`;
    let section = this.#sections.get(name);
    if (section === undefined) section = this.#begin(name, journal, place);
    else this.#sections.delete(name); // And in again below, as the most recent.
    this.#sections.set(name, section);
    section.users += 1;
    return section;
  }

  #begin(name: string, journal: Journal, place: RecordPlace): Section {
    const { promise: ready, resolve, reject } = Promise.withResolvers<Uint8Array>();
    // Reading is a user too: the memory is not another's until it ends.
    const section: Section = { ready, held: [], users: 1, isGone: false };
    this.#read(section, journal, place)
      .then(resolve, (error: unknown) => {
        this.#forget(name, section);
        reject(error);
      })
      .finally(() => this.#release(section));
    return section;
  }

  async #read(section: Section, journal: Journal, place: RecordPlace): Promise<Uint8Array> {
    const record = memory.take(place.payloadBytes);
    this.#hold(section, [record]);
    const body = record.subarray(0, place.payloadBytes);
    await journal.read(place, body);
    let plain: Uint8Array<SharedArrayBuffer> | undefined;
    const { section: bytes } = plainOf(decodeBlockData(body), (lengthBytes) => {
      plain = memory.take(lengthBytes);
      this.#hold(section, [record, plain]);
      return plain;
    });
    if (plain !== undefined && bytes.buffer === plain.buffer) {
      this.#hold(section, [plain]);
      memory.giveBack(record);
    }
    return bytes;
  }

  #hold(section: Section, held: Section['held']): void {
    this.#heldBytes += sizeOf(held) - sizeOf(section.held);
    section.held = held;
    this.#makeRoom();
  }

  #makeRoom(): void {
    for (const [name, oldest] of this.#sections) {
      if (this.#heldBytes <= SECTION_CACHE_BYTES) return;
      if (oldest.users > 0) continue;
      this.#forget(name, oldest);
      this.#free(oldest);
    }
  }

  #forget(name: string, section: Section): void {
    this.#sections.delete(name);
    section.isGone = true;
  }

  /** While many read at a time more may be held than is kept behind them. */
  #release(section: Section): void {
    section.users -= 1;
    if (section.users > 0) return;
    if (section.isGone) this.#free(section);
    this.#makeRoom();
  }

  #free(section: Section): void {
    this.#heldBytes -= sizeOf(section.held);
    for (const each of section.held) memory.giveBack(each);
    section.held = [];
  }

  #numberOf(journal: Journal): number {
    let number = this.#numbers.get(journal);
    if (number === undefined) {
      number = this.#journals++;
      this.#numbers.set(journal, number);
    }
    return number;
  }
}

function sizeOf(held: Section['held']): number {
  return held.reduce((sum, { byteLength }) => sum + byteLength, 0);
}
