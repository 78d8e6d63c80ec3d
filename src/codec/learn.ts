/** Fills tables of samples where nobody waits for it: what content is like, and who has it. */
import { SimilarTable, samplesPerChunk, takeSamples } from './similar.ts';

/** Puts the samples of parts of some memory into a table, as those of `first`, `first + 1`, ... */
export type LearnJob = {
  readonly kind: 'learn';
  readonly memory: SharedArrayBuffer;
  /** In twos: where a part begins, and its length. */
  readonly parts: Uint32Array;
  readonly table: SharedArrayBuffer;
  readonly first: number;
};

/** Moves what a table has into another one, under other numbers. */
export type MergeJob = {
  readonly kind: 'merge';
  readonly from: SharedArrayBuffer;
  readonly to: SharedArrayBuffer;
  /** By the numbers of `from` less `first`; LEFT_OUT for what is not moved. */
  readonly numbers: Uint32Array;
  readonly first: number;
  /** Where to begin in `from`, and how much of it to look at. */
  readonly slot: number;
  readonly slots: number;
};

/** `slot` is where to go on: earlier than asked for if the other table is full. */
export type MergeResult = { readonly slot: number; readonly count: number };

export const LEFT_OUT = 0xffffffff;

/** After a full table it goes on at the beginning of so many slots: some are moved twice. */
const STEP_SLOTS = 256;

export function learn({ memory, parts, table, first }: LearnJob): undefined {
  const target = new SimilarTable(table);
  for (let part = 0; part < parts.length; part += 2) {
    const bytes = new Uint8Array(memory, parts[part], parts[part + 1]);
    const samples = new Uint32Array(samplesPerChunk(bytes.byteLength));
    takeSamples(bytes, samples);
    for (const sample of samples) if (sample !== 0) target.set(sample, first + part / 2);
  }
}

export function merge({ from, to, numbers, first, slot, slots }: MergeJob): MergeResult {
  const [source, target] = [new SimilarTable(from), new SimilarTable(to)];
  const end = Math.min(2 ** source.slotsLog2, slot + slots);
  let count = 0;
  for (let at = slot; at < end; at += STEP_SLOTS) {
    for (const [hash, number] of source.entries(at, Math.min(STEP_SLOTS, end - at))) {
      const moved = numbers[number - first]!;
      if (moved === LEFT_OUT) continue;
      if (target.isFull) return { slot: at, count };
      target.set(hash, moved);
      count += 1;
    }
  }
  return { slot: end, count };
}
