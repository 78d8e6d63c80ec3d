/**
 * Sessions: what a writer has stored before it commits, so that the next one takes it up if this
 * one is cut off.
 */
import { type Random, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import { type SealedObjects, sealJsonObject, unsealJsonObject } from './sealer.ts';

export type SessionState = {
  readonly writer: string;
  readonly volume: string;
  /** The generation of garbage collection in which the writer began. */
  readonly generation: number;
  /** Packs that it sealed. */
  readonly packs: readonly string[];
};

/** Packs that one object names; the next ones get another. */
const PACKS_PER_OBJECT = 64;

/** A writer's own session: immutable objects, each naming the packs since the last full one. */
export class Session {
  readonly writer: string;
  readonly #objects: SealedObjects;
  readonly #volume: string;
  readonly #generation: number;
  readonly packs: string[] = [];
  readonly #keys: string[] = [];

  constructor(objects: SealedObjects, random: Random, volume: string, generation: number) {
    const id = new Uint8Array(16);
    random.fill(id);
    this.writer = toHex(id);
    this.#objects = objects;
    this.#volume = volume;
    this.#generation = generation;
  }

  async add(pack: string): Promise<void> {
    const before = this.packs.length % PACKS_PER_OBJECT;
    this.packs.push(pack);
    const state: SessionState = {
      writer: this.writer,
      volume: this.#volume,
      generation: this.#generation,
      packs: this.packs.slice(this.packs.length - before - 1),
    };
    const key = sessionKey(this.writer, this.packs.length);
    const { sealer } = this.#objects;
    const fields = sealer.hide(key, state, ['writer', 'generation', 'packs']);
    const bytes = sealJsonObject(sealer, 'session', key, fields);
    await this.#objects.putIfAbsent(key, bytes);
    this.#keys.push(key);
    // The one before says nothing that this one does not say.
    if (before > 0) await this.#objects.remove(sessionKey(this.writer, this.packs.length - 1));
  }

  /** The packs belong to the log now. */
  async end(): Promise<void> {
    for (const key of this.#keys) await this.#objects.remove(key);
  }
}

function sessionKey(writer: string, packCount: number): string {
  return `sessions/${writer}-${String(packCount).padStart(8, '0')}`;
}

/** A session, from all its objects: packs in the order in which they were sealed. */
export type FoundSession = { readonly keys: readonly string[]; readonly state: SessionState };

/** Sessions of a volume that are there; what cannot be read is of no use, and no damage. */
export async function findSessions(
  objects: SealedObjects,
  volume: string,
): Promise<FoundSession[]> {
  const found = new Map<string, { keys: string[]; state: SessionState & { packs: string[] } }>();
  for await (const { key } of objects.list('sessions/')) {
    try {
      const bytes = await objects.get(key, SMALL_OBJECT_BYTES_MAX);
      const value = unsealJsonObject(objects.sealer, 'session', key, bytes);
      const state = parse(objects.sealer.reveal(key, new JsonFields(value, key), { volume: '' }));
      if (state.volume !== volume) continue;
      const session = found.get(state.writer) ?? { keys: [], state: { ...state, packs: [] } };
      found.set(state.writer, session);
      session.keys.push(key);
      session.state.packs.push(
        ...state.packs.filter((pack) => !session.state.packs.includes(pack)),
      );
    } catch (error) {
      if (!(error instanceof StoreError || error instanceof ObjectError)) throw error;
    }
  }
  return [...found.values()];
}

function parse(fields: JsonFields): SessionState {
  return {
    writer: fields.hex('writer', 16),
    volume: fields.text('volume'),
    generation: fields.count('generation'),
    packs: fields.hexes('packs', 32),
  };
}
