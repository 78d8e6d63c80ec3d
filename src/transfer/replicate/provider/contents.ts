/** Content that is here already: in the journal that is written to, or in the repository. */
import { sha256 } from '../../../core/index.ts';
import type { Repository } from '../../../store/index.ts';
import { type BlockData, type BlockReference, hasRecord } from '../../../wire/index.ts';
import { ReplicateError } from '../errors.ts';
import { BLOCK_BYTES, GIVEN_UP_BYTES_MAX } from '../limits.ts';
import type { Placed } from './attempt.ts';
import { type Chunks, chunksOf } from './chunks.ts';
import type { Journal } from './journal.ts';
import type { RecordPlace } from './journal-record.ts';
import { KnownPlaces } from './known-places.ts';
import type { Piece } from './pieces.ts';
import type { SectionCache } from './section-cache.ts';

export class Contents {
  readonly chunks: Chunks;
  readonly #sections: SectionCache;
  #known = new KnownPlaces();
  /** Came for epochs that were given up since the last commit, and was not looked into yet. */
  #givenUp: Piece[] = [];
  #givenUpBytes = 0;
  #learning: Promise<void> = Promise.resolve();

  constructor(repository: Repository, sections: SectionCache) {
    this.chunks = chunksOf(repository);
    this.#sections = sections;
  }

  /** Another journal is written to from now on: records refer to no other one. */
  startAnew(): void {
    this.#known = new KnownPlaces();
    this.#forget();
  }

  committed(): void {
    this.#known.committed();
    this.#forget();
  }

  #forget(): void {
    this.#givenUp = [];
    this.#givenUpBytes = 0;
  }

  /**
   * Nothing more comes for the epoch of these pieces: the next one may find blocks of them. How
   * many count depends on what the journal says alone: whoever takes it up must find them too.
   */
  gaveUp(pieces: readonly Piece[]): void {
    this.#givenUpBytes += pieces.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    if (this.#givenUpBytes <= GIVEN_UP_BYTES_MAX) this.#givenUp.push(...pieces);
  }

  /** Remembers what a durable record of that journal holds. */
  learn({ entries }: BlockData, place: RecordPlace): void {
    let skipBytes = 0;
    for (const { kind, hash, lengthBytes } of entries) {
      if (!hasRecord(kind)) continue;
      this.#known.add(hash!, { place, skipBytes, lengthBytes });
      skipBytes += lengthBytes;
    }
  }

  async knows(hashes: readonly Uint8Array[]): Promise<boolean[]> {
    await this.#lookIntoGivenUp();
    const answers: boolean[] = [];
    for (const hash of hashes) {
      const isKnown = this.#known.find(hash) !== undefined;
      answers.push(isKnown || (await this.chunks.isSure(hash)));
    }
    return answers;
  }

  /** Once for all who ask, and only when somebody does: who did is told if it fails. */
  #lookIntoGivenUp(): Promise<void> {
    const pieces = this.#givenUp;
    if (pieces.length === 0) return this.#learning;
    this.#givenUp = [];
    const add = this.#known.blocks();
    const learning = this.#learning.then(() => this.#learnBlocks(pieces, add));
    this.#learning = learning.catch(() => undefined); // Others do without; it is sent once more.
    return learning;
  }

  async #learnBlocks(
    pieces: readonly Piece[],
    add: ReturnType<KnownPlaces['blocks']>,
  ): Promise<void> {
    for (const { offsetBytes, lengthBytes, content, skipBytes } of pieces) {
      if (content.kind !== 'section' || content.journal.isClosed) continue;
      const { journal, place } = content;
      const end = journal.use();
      try {
        await journal.durable(); // What is not written yet cannot be read.
        const bytes = new Uint8Array(lengthBytes);
        await this.#sections.fill(bytes, content, skipBytes);
        const first = Math.ceil(offsetBytes / BLOCK_BYTES) * BLOCK_BYTES - offsetBytes;
        for (let at = first; at + BLOCK_BYTES <= lengthBytes; at += BLOCK_BYTES) {
          const hash = sha256(bytes.subarray(at, at + BLOCK_BYTES));
          add(hash, { place, skipBytes: skipBytes + at, lengthBytes: BLOCK_BYTES });
        }
      } finally {
        end();
      }
    }
  }

  /** What each reference means. REPLICATE_UNKNOWN_CONTENT. */
  async resolve({ references }: BlockReference, journal: Journal): Promise<Placed[]> {
    const contents: Placed[] = [];
    for (const { hash, lengthBytes } of references) {
      // Who takes a journal up is not asked first.
      if (this.#known.find(hash) === undefined) await this.#lookIntoGivenUp();
      const known = this.#known.find(hash);
      if (known?.lengthBytes === lengthBytes) {
        const { place, skipBytes } = known;
        contents.push({ content: { kind: 'section', journal, place }, skipBytes });
      } else if ((await this.chunks.find(hash)) === lengthBytes) {
        const content = { kind: 'chunk', hash: hash.slice(), lengthBytes } as const;
        contents.push({ content, skipBytes: 0 });
      } else throw unknownContent();
    }
    return contents;
  }
}

function unknownContent(): ReplicateError {
  const message = 'a reference names content that is not here';
  return new ReplicateError('REPLICATE_UNKNOWN_CONTENT', message, {
    hint: 'The agent sends it whole; if it does not end, run `ferry check` on the repository.',
  });
}
