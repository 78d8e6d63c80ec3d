/** Content that is here already: in the journal that is written to, or in the repository. */
import type { Repository } from '../../../store/index.ts';
import { type BlockData, type BlockReference, hasRecord } from '../../../wire/index.ts';
import { ReplicateError } from '../errors.ts';
import type { Placed } from './attempt.ts';
import { type Chunks, chunksOf } from './chunks.ts';
import type { Journal } from './journal.ts';
import type { RecordPlace } from './journal-record.ts';
import { KnownPlaces } from './known-places.ts';

export class Contents {
  readonly chunks: Chunks;
  #known = new KnownPlaces();

  constructor(repository: Repository) {
    this.chunks = chunksOf(repository);
  }

  /** Another journal is written to from now on: records refer to no other one. */
  startAnew(): void {
    this.#known = new KnownPlaces();
  }

  committed(): void {
    this.#known.committed();
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
    const answers: boolean[] = [];
    for (const hash of hashes) {
      const isKnown = this.#known.find(hash) !== undefined;
      answers.push(isKnown || (await this.chunks.find(hash)) !== undefined);
    }
    return answers;
  }

  /** What each reference means. REPLICATE_UNKNOWN_CONTENT. */
  async resolve({ references }: BlockReference, journal: Journal): Promise<Placed[]> {
    const contents: Placed[] = [];
    for (const { hash, lengthBytes } of references) {
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
