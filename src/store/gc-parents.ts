/** Which parents the patches of a pack name: read once from its frames, kept in little room. */
import { PARENT_REFERENCE_BYTES, type ParentReference } from '../codec/index.ts';
import { named } from './chunk-reader.ts';
import { readFrame } from './pack-file.ts';
import type { PackTable } from './pack-table.ts';
import type { SealedObjects } from './sealer.ts';

/** The references of one frame: those of record r lie from `starts[r]` up to `starts[r + 1]`. */
type FrameParents = { readonly starts: Uint16Array; readonly references: Uint8Array };

export class PatchParents {
  readonly #objects: SealedObjects;
  readonly #frames = new Map<string, FrameParents>();

  constructor(objects: SealedObjects) {
    this.#objects = objects;
  }

  /** STORE_DAMAGED, STORE_MISSING if the frame cannot be read. */
  async of(packId: string, table: PackTable, ordinal: number): Promise<ParentReference[]> {
    const told = table.parentsOf(ordinal);
    if (told !== undefined) return told;
    const frame = table.frameOf(ordinal);
    const name = `${packId}/${frame}`;
    const known = this.#frames.get(name) ?? (await this.#read(packId, table, frame));
    this.#frames.set(name, known);
    const record = ordinal - table.frameFirst[frame]!;
    const found: ParentReference[] = [];
    for (let at = known.starts[record]!; at < known.starts[record + 1]!; at++) {
      const from = at * PARENT_REFERENCE_BYTES;
      found.push(known.references.subarray(from, from + PARENT_REFERENCE_BYTES));
    }
    return found;
  }

  async #read(packId: string, table: PackTable, frame: number): Promise<FrameParents> {
    const bytes = new Uint8Array(table.frameBytes[frame]!);
    await readFrame(this.#objects, packId, bytes, table.frameOffset[frame]!);
    const { records } = named(packId, () => table.seal.parseFrame(bytes, frame));
    const starts = new Uint16Array(records.length + 1);
    const parents = records.flatMap((record) => record.parents);
    const references = new Uint8Array(parents.length * PARENT_REFERENCE_BYTES);
    for (const [at, parent] of parents.entries()) references.set(parent, at * parent.byteLength);
    for (const [at, record] of records.entries())
      starts[at + 1] = starts[at]! + record.parents.length;
    return { starts, references };
  }
}
