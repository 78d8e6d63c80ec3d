/**
 * Where new chunks of a volume that was backed up before wait until it is known what they resemble:
 * patches against their former versions are made at once; what gains nothing by that is parked, and
 * compared with everything else that was seen, the later the better.
 */
import { CLEARLY_WORTH, type CodecPool, type PatchResult } from '../codec/index.ts';
import type { Location } from './chunk-index.ts';
import type { FrameBuilder, NewChunk } from './frame-builder.ts';
import { type FramePlan, PLAN_HELD_TARGET } from './frame-plan.ts';
import { type Parents, type PlannedChoice, planChain } from './parent-choice.ts';
import { ParentFrames } from './parent-frames.ts';
import type { SimilarIndex } from './similar-index.ts';

/** Plain bytes of a group: what a job for a thread is worth. */
const GROUP_BYTES_MAX = 1024 * 1024;

/** Groups with chunks that wait for something similar; the oldest gives up waiting. */
const PARKED_MAX = 4;

/** Groups that are looked up while the next ones come. */
const MATCHING_MAX = 1;

type Waiting = Omit<NewChunk, 'bytes'> & {
  readonly at: number;
  readonly lengthBytes: number;
  readonly samples: Uint32Array;
  /** Its former version, and then the one of its chain that serves best. */
  parent: Location | undefined;
};

type Group = {
  readonly memory: SharedArrayBuffer;
  readonly patches: SharedArrayBuffer;
  chunks: Waiting[];
  usedBytes: number;
  readonly parentFrames: ParentFrames;
};

type Patched = { readonly results: PatchResult[]; readonly choices: PlannedChoice[][] };
type Working<T> = { readonly group: Group; readonly result: Promise<T> };

export class ChunkStage {
  readonly #builder: FrameBuilder;
  readonly #pool: CodecPool;
  readonly #similar: SimilarIndex;
  readonly #free: Group[] = [];
  /** Chunks that the index does not know yet. */
  readonly #waitingIds = new Set<string>();
  #filling: Group | undefined;
  readonly #patching: Working<Patched>[] = [];
  readonly #parked: Group[] = [];
  readonly #matching: Working<number[][]>[] = [];
  #groupsMade = 0;
  readonly #groupBytes: number;

  /** For a volume of this size. */
  constructor(builder: FrameBuilder, pool: CodecPool, similar: SimilarIndex, sizeBytes: number) {
    this.#groupBytes = Math.min(GROUP_BYTES_MAX, sizeBytes);
    this.#builder = builder;
    this.#pool = pool;
    this.#similar = similar;
  }

  get #patchingMax(): number {
    return Math.max(1, this.#pool.threads);
  }

  /** Whether the chunk was added and the index does not find it yet. */
  holds(id: Uint8Array): boolean {
    return this.#waitingIds.size > 0 && this.#waitingIds.has(nameOf(id));
  }

  /** A chunk that is stored already may resemble new ones. */
  seen(id: Uint8Array, samples: Uint32Array): void {
    this.#similar.add(id, samples);
  }

  /** Adds a new chunk; `parent` is what was in its place before. */
  async add(chunk: NewChunk, samples: Uint32Array, parent: Location | undefined): Promise<void> {
    const { bytes, id, checksum } = chunk;
    const lengthBytes = bytes.byteLength;
    if (this.#filling !== undefined && !hasRoom(this.#filling, lengthBytes, parent)) {
      await this.#startPatching();
    }
    this.#filling ??= await this.#group();
    const group = this.#filling;
    const at = group.usedBytes;
    new Uint8Array(group.memory, at, lengthBytes).set(bytes);
    group.chunks.push({ id, checksum, at, lengthBytes, samples: samples.slice(), parent });
    group.usedBytes += lengthBytes;
    if (parent !== undefined) group.parentFrames.add(parent);
    this.#waitingIds.add(nameOf(id));
  }

  async #group(): Promise<Group> {
    for (;;) {
      const group = this.#free.pop();
      if (group !== undefined) return group;
      if (this.#groupsMade < PARKED_MAX + MATCHING_MAX + this.#patchingMax + 1) break;
      await this.#takePatched();
    }
    this.#groupsMade++;
    return {
      memory: new SharedArrayBuffer(this.#groupBytes),
      patches: new SharedArrayBuffer(Math.ceil(this.#groupBytes * CLEARLY_WORTH)),
      chunks: [],
      usedBytes: 0,
      parentFrames: new ParentFrames(),
    };
  }

  #release(group: Group): void {
    group.chunks = [];
    group.usedBytes = 0;
    group.parentFrames.clear();
    this.#free.push(group);
  }

  async #startPatching(): Promise<void> {
    const group = this.#filling;
    if (group === undefined) return;
    this.#filling = undefined;
    const result = this.#patch(group);
    result.catch(() => undefined); // Seen again in its turn.
    this.#patching.push({ group, result });
    if (this.#patching.length > this.#patchingMax) await this.#takePatched();
  }

  /** In as many jobs as it takes for each to hold a few frames only: parents have parents. */
  async #patch(group: Group): Promise<Patched> {
    const results: PatchResult[] = [];
    const choices: PlannedChoice[][] = [];
    let patchesBytes = 0;
    while (choices.length < group.chunks.length) {
      const from = choices.length;
      const part = await this.#builder.planned(async (plan) => {
        do {
          const { parent } = group.chunks[choices.length]!;
          choices.push(parent === undefined ? [] : await planChain(plan, parent));
        } while (choices.length < group.chunks.length && plan.heldBytes < PLAN_HELD_TARGET);
        return this.#patchPart(group, plan, { from, choices: choices.slice(from), patchesBytes });
      });
      for (const { choice, at, storedBytes } of part) {
        results.push({ choice, at: patchesBytes + at, storedBytes });
      }
      for (const { storedBytes } of part) patchesBytes += storedBytes;
    }
    return { results, choices };
  }

  async #patchPart(
    { chunks, memory, patches }: Group,
    plan: FramePlan,
    part: { from: number; choices: readonly PlannedChoice[][]; patchesBytes: number },
  ): Promise<PatchResult[]> {
    const records = part.choices.map((planned, number) => {
      const { at, lengthBytes } = chunks[part.from + number]!;
      return { data: { memory, at, lengthBytes }, choices: planned.map(({ choice }) => choice) };
    });
    if (records.every(({ choices }) => choices.length === 0)) {
      return records.map(() => ({ choice: -1, at: 0, storedBytes: 0 }));
    }
    const lengthBytes = patches.byteLength - part.patchesBytes;
    const target = { memory: patches, at: part.patchesBytes, lengthBytes };
    const job = { kind: 'patch', records, plan: plan.finish(), target } as const;
    return this.#pool.run<'patch'>(job);
  }

  /** Stores the patches of the oldest group that is being patched; parks the rest of it. */
  async #takePatched(): Promise<void> {
    const working = this.#patching.shift();
    if (working === undefined) return;
    const { group } = working;
    const { results, choices } = await working.result;
    const parked: Waiting[] = [];
    for (const [number, chunk] of group.chunks.entries()) {
      const result = results[number];
      const choice = result && choices[number]![result.choice];
      if (result === undefined || choice === undefined || result.storedBytes === 0) {
        chunk.parent = choice?.parents[0];
        parked.push(chunk);
        continue;
      }
      const patch = new Uint8Array(group.patches, result.at, result.storedBytes);
      await this.#builder.addPatch(chunk, chunk.lengthBytes, patch, choice.patchOf);
      this.#stored(chunk);
    }
    if (parked.length === 0) return this.#release(group);
    group.chunks = parked;
    this.#parked.push(group);
    if (this.#parked.length > PARKED_MAX) this.#startMatching();
    if (this.#matching.length > MATCHING_MAX) await this.#takeMatched();
  }

  #stored({ id, samples }: Waiting): void {
    this.#waitingIds.delete(nameOf(id));
    this.#similar.add(id, samples);
  }

  #startMatching(): void {
    const group = this.#parked.shift();
    if (group === undefined) return;
    const { memory } = group;
    const chunks = group.chunks.map(({ at, lengthBytes }) => ({ memory, at, lengthBytes }));
    const tables = [this.#similar.memory];
    const job = { kind: 'match', chunks, tables, limit: this.#similar.parentsMax } as const;
    const result = this.#pool.run<'match'>(job);
    result.catch(() => undefined); // Seen again in its turn.
    this.#matching.push({ group, result });
  }

  async #takeMatched(): Promise<void> {
    const working = this.#matching.shift();
    if (working === undefined) return;
    const { group } = working;
    const matches = await working.result;
    for (const [number, chunk] of group.chunks.entries()) {
      const { at, lengthBytes, id, checksum, parent } = chunk;
      const similar = await this.#similar.locations(matches[number] ?? []);
      const bytes = new Uint8Array(group.memory, at, lengthBytes);
      const choices = choicesOf(similar, parent, this.#similar.parentsMax);
      await this.#builder.add({ bytes, id, checksum }, choices);
      this.#stored(chunk);
    }
    this.#release(group);
  }

  /** Jobs that were begun have ended; what they found is dropped. */
  async stopped(): Promise<void> {
    const working = [...this.#patching, ...this.#matching];
    await Promise.allSettled(working.map(async ({ result }) => result));
  }

  /** Hands everything that waits to the builder. */
  async finish(): Promise<void> {
    await this.#startPatching();
    while (this.#patching.length > 0) await this.#takePatched();
    await this.#builder.written();
    // What one group stores, the one after the next may stand on.
    let before = Promise.resolve();
    while (this.#parked.length + this.#matching.length > 0) {
      this.#startMatching();
      while (this.#matching.length > 0) await this.#takeMatched();
      const written = this.#builder.written();
      written.catch(() => undefined); // Seen again in its turn.
      await before;
      before = written;
    }
    await before;
  }
}

/** All that is similar together, and what was there before: alone, if that is better. */
function choicesOf(
  similar: readonly Location[],
  parent: Location | undefined,
  parentsMax: number,
): Parents[] {
  if (parent === undefined) return similar.length === 0 ? [] : [similar];
  const others = similar.filter(
    (one) => one.pack !== parent.pack || one.ordinal !== parent.ordinal,
  );
  if (others.length === 0) return [[parent]];
  return [[...others.slice(0, parentsMax - 1), parent], [parent]];
}

function nameOf(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1');
}

function hasRoom(group: Group, lengthBytes: number, parent: Location | undefined): boolean {
  if (group.usedBytes + lengthBytes > group.memory.byteLength) return false;
  return parent === undefined || group.parentFrames.hasRoomFor(parent);
}
