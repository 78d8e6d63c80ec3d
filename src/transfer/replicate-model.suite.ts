/** A volume in memory that knows what was written to it since when, for trials of replication. */
import { codecPool } from '../codec/index.ts';
import { type Env, type Extent, ExtentSet } from '../core/index.ts';
import { type Device, memory } from '../device/index.ts';
import { deviceDigest } from './device-digest.ts';
import { type CutEpoch, type Held, Likeness, type MeasuredSource } from './replicate/index.ts';
import { BLOCK, KIB, SIZE } from './replicate.suite.ts';

const CHUNK = 64 * KIB;

/** A volume that is written to, with marks that survive whatever happens to its agent. */
export class TrackedModel implements MeasuredSource {
  readonly sizeBytes = SIZE;
  readonly content = new Uint8Array(SIZE);
  /** The content at each cut; the first is the empty volume. */
  readonly cuts: Uint8Array[] = [new Uint8Array(SIZE)];
  /** The cut that was acknowledged last. */
  acknowledged = 0;
  cursor: (Held & { readonly count: number }) | undefined;
  /** Patches against what a block held at another cut than the one that is there. */
  oldBytesFrom = (number: number): number => number;
  /** The same for what patches against other places stand on. */
  belowFrom = (number: number): number => number;
  #likeness: Promise<Likeness> | undefined;
  /** While a promoted volume comes back. */
  isBringingBack = false;
  readonly #env: Env;
  readonly #writtenAt = new Map<number, number>();
  #count = 0;

  constructor(env: Env) {
    this.#env = env;
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    this.#count += 1;
    this.content.set(bytes, offsetBytes);
    const end = offsetBytes + bytes.byteLength;
    for (let block = Math.floor(offsetBytes / BLOCK); block * BLOCK < end; block += 1) {
      this.#writtenAt.set(block, this.#count);
    }
  }

  /** Of the writes so far. */
  get count(): number {
    return this.#count;
  }

  get pendingBytes(): number {
    return this.isClean ? 0 : BLOCK;
  }

  get wasReplicated(): boolean {
    return this.cursor !== undefined;
  }

  get isClean(): boolean {
    return this.cursor?.count === this.#count;
  }

  changedSince(count: number): Extent[] {
    const blocks = [...this.#writtenAt].filter(([, at]) => at > count).map(([block]) => block);
    return blocks
      .sort((a, b) => a - b)
      .map((block) => ({
        ...{ offsetBytes: block * BLOCK, lengthBytes: BLOCK },
      }));
  }

  acknowledgedEpoch(replica: string): number | undefined {
    return this.cursor?.replica === replica ? this.cursor.epoch : undefined;
  }

  async cut(held: Held): Promise<CutEpoch | undefined> {
    const count = this.#count;
    const number = this.cuts.push(this.content.slice()) - 1;
    const { cursor } = this;
    const isKnown = cursor?.replica === held.replica && held.epoch >= cursor.epoch;
    const heldCut = Number(held.mark ?? 0);
    const before = this.cuts[this.oldBytesFrom(heldCut)]!;
    const below = this.cuts[this.belowFrom(heldCut)]!;
    this.#likeness ??= Likeness.open(this.#env, { path: '/samples', sizeBytes: SIZE });
    // After a kill a tracker knows less well what has changed.
    const isInDoubt = number % 5 === 0;
    const known = isKnown ? this.changedSince(cursor.count) : [];
    const told = isInDoubt ? wholeChunks(known) : known;
    const changed = isKnown ? told : ('compare' as const);
    const changedBytes = isKnown ? new ExtentSet(told).totalBytes : SIZE;
    return {
      ...{ device: await this.deviceOf(number), changed, changedBytes, isInDoubt, wallMs: 0 },
      mark: `${number}`,
      // Some are not known any more, as when there was no room for them.
      oldBytes: (offsetBytes, lengthBytes) =>
        offsetBytes % (3 * BLOCK) === 0
          ? undefined
          : before.slice(offsetBytes, offsetBytes + lengthBytes),
      below: {
        likeness: await this.#likeness,
        read: async (target, offsetBytes) => {
          target.set(below.subarray(offsetBytes, offsetBytes + target.byteLength));
          return offsetBytes !== 0 || number % 4 !== 0;
        },
      },
      windowBytes: 2 * BLOCK,
      acknowledged: async (now) => {
        this.cursor = { ...now, count };
        this.acknowledged = number;
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  /** What was there at the cut; reading it takes its time. */
  async deviceOf(number: number): Promise<Device> {
    const device = memory('cut', SIZE);
    await device.write(this.cuts[number]!, 0, 0);
    return slowly(this.#env, device);
  }
}

function wholeChunks(extents: readonly Extent[]): Extent[] {
  const chunks = new ExtentSet();
  for (const { offsetBytes } of extents) {
    const from = Math.floor(offsetBytes / CHUNK) * CHUNK;
    chunks.add(from, Math.min(CHUNK, SIZE - from));
  }
  return [...chunks];
}

export function slowly(env: Env, device: Device): Device {
  return new Proxy(device, {
    get(target, key) {
      if (key === 'read') {
        return async (bytes: Uint8Array, offsetBytes: number) => {
          await pause(env, 2);
          await target.read(bytes, offsetBytes);
        };
      }
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** The volume as it is at each moment. */
export function deviceOf(model: TrackedModel): Device {
  const base = memory('volume', SIZE);
  return new Proxy(base, {
    get(target, key) {
      if (key === 'read') {
        return (bytes: Uint8Array, at: number) =>
          void bytes.set(model.content.subarray(at, at + bytes.byteLength));
      }
      if (key === 'write') return (bytes: Uint8Array, at: number) => void model.write(at, bytes);
      if (key === 'zero') {
        return (length: number, at: number) => void model.write(at, new Uint8Array(length));
      }
      if (key === 'writeAtOnce') return undefined;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

export async function digestOf(env: Env, content: Uint8Array): Promise<Uint8Array> {
  const device = memory('content', SIZE);
  await device.write(content, 0, 0);
  await using pool = codecPool(env, 0);
  return await deviceDigest(device, SIZE, pool, {});
}

export function pause(env: Env, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    env.clock.after(delayMs, resolve);
  });
}
