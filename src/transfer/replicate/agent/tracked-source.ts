/** Epochs of a device that is tracked in this process: each one is a moment of it. */
import type { FileName } from '../../../codec/index.ts';
import { type Clock, type Files, Turns } from '../../../core/index.ts';
import {
  BLOCK_BYTES,
  type Cut,
  type DirtyMap,
  MOMENT_PREFIX,
  type Moment,
  markOf,
  type PreImages,
  type TrackedDevice,
  toldUpTo,
} from '../../../track/index.ts';
import { bindingOf, consumerOf, epochOf, type Held, isConsumerOf, sinceOf } from '../cursor.ts';
import { SLICE_MS } from '../limits.ts';
import type { CutEpoch, EpochSource } from './keep.ts';
import type { Likeness } from './likeness.ts';

export type TrackedSourceOptions = {
  readonly device: TrackedDevice;
  readonly volume: string;
  readonly files: Files;
  readonly clock: Clock;
  /** Where moments keep what is overwritten before it was read, up to `roomBytesMax`. */
  readonly directory: string;
  readonly roomBytesMax: number;
  /** Tells the sources of one volume apart, one for each provider. */
  readonly number: number;
  /** Keeps what blocks held before, for patches. */
  readonly preImages: PreImages;
  /** What chunks of the volume resemble: patches may stand on other places, then. */
  readonly likeness?: Likeness | undefined;
  /** What the device is made of, byte for byte: a thread may read it. */
  readonly file?: FileName | undefined;
  /** Of the epoch that is being sent. */
  readonly onProgress?: (doneBytes: number) => void;
};

/** Borrows the device. */
export class TrackedSource implements EpochSource {
  readonly sizeBytes: number;
  readonly #options: TrackedSourceOptions;
  readonly #turns: Turns;
  /** Of the epoch that is being sent. */
  #unsentBytes = 0;
  /** The cut that the provider has, and nothing was cut since. */
  #settled: { readonly replica: string; readonly epoch: number; readonly cut: number } | undefined;

  constructor(options: TrackedSourceOptions) {
    this.#options = options;
    this.sizeBytes = options.device.sizeBytes;
    this.#turns = new Turns(options.clock, SLICE_MS);
  }

  /** Changed since the last cut, or cut and not yet given to the session. */
  get pendingBytes(): number {
    return this.#options.device.tracker.markedBytes + this.#unsentBytes;
  }

  get wasReplicated(): boolean {
    const { device, volume } = this.#options;
    return device.tracker.cursors().some(({ consumer }) => isConsumerOf(consumer, volume));
  }

  /** No change has been marked since the cut that the provider has. */
  isUnchanged({ replica, epoch }: Held): boolean {
    const { tracker } = this.#options.device;
    const { replica: known, epoch: knownEpoch, cut } = this.#settled ?? {};
    return known === replica && knownEpoch === epoch && cut === tracker.epoch && !tracker.hasMarks;
  }

  acknowledgedEpoch(replica: string): number | undefined {
    const { device, volume } = this.#options;
    const cursor = device.tracker.cursor(consumerOf({ replica }, volume));
    return epochOf(cursor?.snapshot);
  }

  /** The moment is that of the call. */
  async cut(held: Held): Promise<CutEpoch> {
    const { device, volume, files, directory, number, roomBytesMax, clock } = this.#options;
    const path = `${directory}/${MOMENT_PREFIX}provider-${number}`;
    const { cut, moment } = device.freeze({ files, path, roomBytesMax });
    const wallMs = clock.wallMs();
    try {
      const consumer = consumerOf(held, volume);
      const { map } = await toldUpTo(device.tracker, cut, consumer, sinceOf(held));
      if (map !== undefined) moment.limitTo(map.ranges());
      return this.#epochOf({ cut, moment, map, held, wallMs });
    } catch (error) {
      await moment[Symbol.asyncDispose]();
      await cut[Symbol.asyncDispose]();
      throw error;
    }
  }

  #epochOf({ cut, moment, map, held, wallMs }: Begun): CutEpoch {
    const { device, volume, preImages, likeness, file, onProgress } = this.#options;
    const consumer = consumerOf(held, volume);
    const mark = markOf(device.tracker, cut);
    const before = held.mark;
    const changedBytes = map?.markedBytes ?? device.sizeBytes;
    this.#unsentBytes = changedBytes;
    return {
      ...{ device: moment, wallMs, mark, changedBytes, turns: this.#turns },
      changed: map === undefined ? 'compare' : map.ranges(),
      // An earlier life of the tracker may have been killed.
      isInDoubt: this.#settled === undefined,
      ...(file !== undefined && {
        elsewhere: {
          file,
          ready: (lengthBytes, offsetBytes) => moment.ready(lengthBytes, offsetBytes),
          amend: (target, offsetBytes) => moment.amend(target, offsetBytes),
        },
      }),
      ...(map !== undefined &&
        before !== undefined && {
          oldBytes: (offsetBytes, lengthBytes) =>
            preImages.old({ offsetBytes, lengthBytes }, before),
          onOldBytes: (wasOfUse) => preImages.judge(wasOfUse),
        }),
      ...(likeness !== undefined && {
        below: {
          likeness,
          read: (target, offsetBytes) =>
            this.#readBelow({ moment, map, held }, target, offsetBytes),
        },
      }),
      onProgress: ({ doneBytes }) => {
        this.#unsentBytes = changedBytes - doneBytes;
        onProgress?.(doneBytes);
      },
      lost: () => moment.failure,
      acknowledged: async (now) => {
        const { id: snapshot, digest } = bindingOf(now);
        await device.acknowledge(consumer, cut, { snapshot, digest });
        preImages.hold(consumer, mark);
        await likeness?.save({ turns: this.#turns });
        this.#settled = { ...now, cut: cut.epoch };
      },
      async [Symbol.asyncDispose]() {
        await moment[Symbol.asyncDispose]();
        await cut[Symbol.asyncDispose]();
        map?.release();
      },
    };
  }

  /**
   * What the provider has: what was overwritten since is among the pre-images, or not known any
   * more; all else is as it was at the moment, which tells of what is overwritten while it is read.
   */
  async #readBelow(
    { moment, map, held: { mark } }: Pick<Begun, 'moment' | 'map' | 'held'>,
    target: Uint8Array,
    offsetBytes: number,
  ): Promise<boolean> {
    if (map === undefined) return false;
    const endBytes = offsetBytes + target.byteLength;
    const blocks = [Math.floor(offsetBytes / BLOCK_BYTES), Math.ceil(endBytes / BLOCK_BYTES) - 1];
    const [first, last] = blocks as [number, number];
    for (const { from, end, is: isChanged } of runsOf(first, last, (block) => map.test(block))) {
      const at = Math.max(offsetBytes, from * BLOCK_BYTES);
      const part = target.subarray(
        at - offsetBytes,
        Math.min(endBytes, end * BLOCK_BYTES) - offsetBytes,
      );
      if (!isChanged) await moment.read(part, at);
      else {
        const extent = { offsetBytes: at, lengthBytes: part.byteLength };
        const old = mark === undefined ? undefined : this.#options.preImages.old(extent, mark);
        if (old === undefined) return false;
        part.set(old);
      }
    }
    return true;
  }
}

/** Of blocks [first, last], the runs for which `test` says the same. */
function* runsOf(
  first: number,
  last: number,
  test: (block: number) => boolean,
): Generator<{ readonly from: number; readonly end: number; readonly is: boolean }> {
  for (let from = first; from <= last; ) {
    const is = test(from);
    let end = from + 1;
    while (end <= last && test(end) === is) end += 1;
    yield { from, end, is };
    from = end;
  }
}

type Begun = {
  readonly cut: Cut;
  readonly moment: Moment;
  readonly map: DirtyMap | undefined;
  readonly held: Held;
  readonly wallMs: number;
};
