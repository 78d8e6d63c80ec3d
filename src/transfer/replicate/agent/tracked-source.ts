/** Epochs of a device that is tracked in this process: each one is a moment of it. */
import { type Clock, type Files, Turns } from '../../../core/index.ts';
import {
  type Cut,
  type DirtyMap,
  MOMENT_PREFIX,
  type Moment,
  markOf,
  type PreImages,
  type TrackedDevice,
  toldUpTo,
} from '../../../track/index.ts';
import { bindingOf, consumerOf, epochOf, type Held, sinceOf } from '../cursor.ts';
import { SLICE_MS } from '../limits.ts';
import type { CutEpoch, EpochSource } from './keep.ts';

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
    const { device, volume, preImages, onProgress } = this.#options;
    const consumer = consumerOf(held, volume);
    const mark = markOf(device.tracker, cut);
    const before = held.mark;
    const changedBytes = map?.markedBytes ?? device.sizeBytes;
    this.#unsentBytes = changedBytes;
    return {
      ...{ device: moment, wallMs, mark, changedBytes, turns: this.#turns },
      changed: map === undefined ? 'compare' : map.ranges(),
      ...(map !== undefined &&
        before !== undefined && {
          oldBytes: (offsetBytes, lengthBytes) =>
            preImages.old({ offsetBytes, lengthBytes }, before),
          onOldBytes: (wasOfUse) => preImages.judge(wasOfUse),
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
        this.#settled = { ...now, cut: cut.epoch };
      },
      async [Symbol.asyncDispose]() {
        await moment[Symbol.asyncDispose]();
        await cut[Symbol.asyncDispose]();
        map?.release();
      },
    };
  }
}

type Begun = {
  readonly cut: Cut;
  readonly moment: Moment;
  readonly map: DirtyMap | undefined;
  readonly held: Held;
  readonly wallMs: number;
};
