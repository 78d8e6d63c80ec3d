/** A device whose writes are marked before they are made. */
import assert from 'node:assert/strict';
import { hasCode } from '../../core/index.ts';
import {
  type Answer,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  type Tracking,
} from '../../device/index.ts';
import type { TrackError } from '../errors.ts';
import type { AccessProfile } from '../profile/index.ts';
import { type Cut, type Flight, overlapping } from './epochs.ts';
import {
  BLOCK_BYTES,
  KEPT_MEMORY_BYTES_MAX,
  KEPT_ROOM_BYTES,
  REGIONS_PER_CALL_MAX,
} from './limits.ts';
import { Moment, type MomentOptions } from './moment.ts';
import { PreImages } from './pre-images.ts';
import type { Holding, Tracker } from './tracker.ts';
import { markOf } from './tracker-source.ts';
import { trackingOf } from './tracking.ts';

export interface TrackedDevice extends Device {
  readonly tracker: Tracker;
  readonly tracking: Tracking;
  /** Ends the epoch at this moment, with regard to all writes. TRACK_STATE, TRACK_BUSY. */
  cut(): Cut;
  /**
   * As the tracker's, once what was written before is durable: after a power cut the device would
   * else have older blocks than the consumer, and nobody would know of a change.
   */
  acknowledge(consumer: string, cut: Cut, holding: Holding): Promise<void>;
  /** The same, and that moment as a device to be read. The caller disposes both. */
  freeze(options: FreezeOptions): { readonly cut: Cut; readonly moment: Moment };
  /** From now on keeps what blocks held at each cut, up to so many bytes; once for a device. */
  keepPreImages(bytesMax: number): PreImages;
}

/** Where a moment keeps what is overwritten. */
export type FreezeOptions = Pick<MomentOptions, 'files' | 'path'> &
  Partial<Pick<MomentOptions, 'memoryBytesMax' | 'roomBytesMax'>>;

export type TrackedOptions = {
  readonly base: Device;
  readonly tracker: Tracker;
  /** Counts reads and writes, if anybody wants to know. */
  readonly profile?: AccessProfile | undefined;
  /** Marks cannot be kept any more: the device goes on, and is not tracked. */
  readonly onLost?: (error: TrackError) => void;
};

/** Borrows both. Dispose the tracker after the last call has settled, and after a flush. */
export function tracked(options: TrackedOptions): TrackedDevice {
  return new Tracked(options);
}

type Issue = (lengthBytes: number, offsetBytes: number) => Answer;

class Tracked implements TrackedDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly: boolean;
  readonly durable: boolean;
  readonly settlesAtOnce = false;
  readonly tracker: Tracker;
  readonly tracking: Tracking;
  readonly cache?: (lengthBytes: number, offsetBytes: number) => Answer;
  readonly writeAtOnce?: (source: Uint8Array, offsetBytes: number) => boolean;
  readonly #base: Device;
  readonly #profile: AccessProfile | undefined;
  readonly #onLost: TrackedOptions['onLost'];
  readonly #flights: Set<Flight>;
  readonly #moments = new Set<Moment>();
  #preImages: PreImages | undefined;
  #abandoning: Promise<void> | undefined;

  constructor({ base, tracker, profile, onLost }: TrackedOptions) {
    if (base.sizeBytes !== tracker.shape.sizeBytes) {
      throw new DeviceError('DEVICE_SIZE', `${base.name} is not what ${tracker.volume} tracks`, {
        hint: 'Open the tracker for the size that the device has.',
      });
    }
    this.name = `tracked(${base.name})`;
    this.sizeBytes = base.sizeBytes;
    this.blockSizes = base.blockSizes;
    this.readOnly = base.readOnly;
    this.durable = base.durable;
    this.tracker = tracker;
    this.tracking = trackingOf(tracker);
    this.#base = base;
    this.#profile = profile;
    this.#onLost = onLost;
    this.#flights = tracker.flights;
    if (base.cache !== undefined) this.cache = (length, offset) => base.cache!(length, offset);
    if (base.writeAtOnce !== undefined || base.settlesAtOnce === true) {
      this.writeAtOnce = this.#writeAtOnce;
    }
  }

  get hints(): DeviceHints {
    return this.#base.hints;
  }

  cut(): Cut {
    const cut = this.tracker.cut();
    this.#preImages?.begin(markOf(this.tracker, cut), this.#flights);
    return cut;
  }

  keepPreImages(bytesMax: number): PreImages {
    assert(this.#preImages === undefined);
    const { shape } = this.tracker;
    this.#preImages = new PreImages({ base: this.#base, shape, bytesMax });
    return this.#preImages;
  }

  async acknowledge(consumer: string, cut: Cut, holding: Holding): Promise<void> {
    await this.#base.flush();
    await this.tracker.acknowledge(consumer, cut, holding);
  }

  freeze(options: FreezeOptions): { readonly cut: Cut; readonly moment: Moment } {
    const cut = this.cut();
    const moment = new Moment({
      memoryBytesMax: KEPT_MEMORY_BYTES_MAX,
      roomBytesMax: KEPT_ROOM_BYTES,
      ...options,
      base: this.#base,
      shape: this.tracker.shape,
      early: this.#flights,
      onEnd: (ended) => this.#moments.delete(ended),
    });
    this.#moments.add(moment);
    return { cut, moment };
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    if (target.byteLength > 0) this.#profile?.read(offsetBytes, target.byteLength);
    return this.#base.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    const lengthBytes = source.byteLength;
    this.#check(lengthBytes, offsetBytes);
    if (lengthBytes === 0) return this.#base.write(source, offsetBytes, flags);
    this.#profile?.written(offsetBytes, lengthBytes);
    const first = Math.floor(offsetBytes / BLOCK_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES);
    if (this.#mayGo(first, last)) {
      const answer = this.#base.write(source, offsetBytes, flags);
      return answer === undefined ? answer : this.#fly(first, last, answer);
    }
    return this.#later(first, last, () => this.#base.write(source, offsetBytes, flags));
  }

  flush(): Answer {
    return this.#base.flush();
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    this.#check(lengthBytes, offsetBytes);
    return this.#inParts(lengthBytes, offsetBytes, 'zero', (length, offset) =>
      this.#base.zero(length, offset, flags),
    );
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    this.#check(lengthBytes, offsetBytes);
    return this.#inParts(lengthBytes, offsetBytes, 'discarded', (length, offset) =>
      this.#base.trim(length, offset, flags),
    );
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]> {
    return this.#base.extents(lengthBytes, offsetBytes, limit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Base and tracker belong to whoever opened them.
  }

  /** The base checks again, but by then blocks would be marked that there are not. */
  #check(lengthBytes: number, offsetBytes: number): void {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  readonly #writeAtOnce = (source: Uint8Array, offsetBytes: number): boolean => {
    const lengthBytes = source.byteLength;
    this.#check(lengthBytes, offsetBytes);
    if (lengthBytes === 0) return true;
    const first = Math.floor(offsetBytes / BLOCK_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES);
    if (!this.#mayGo(first, last) || !this.#isAtOnce(source, offsetBytes)) return false;
    this.#profile?.written(offsetBytes, lengthBytes); // Else `write` is called, and counts it.
    return true;
  };

  #isAtOnce(source: Uint8Array, offsetBytes: number): boolean {
    if (this.#base.writeAtOnce !== undefined) return this.#base.writeAtOnce(source, offsetBytes);
    return this.#base.write(source, offsetBytes, 0) === undefined;
  }

  /** Large ranges in parts that need not be marked all at once. */
  #inParts(
    lengthBytes: number,
    offsetBytes: number,
    kind: 'zero' | 'discarded',
    issue: Issue,
  ): Answer {
    if (lengthBytes === 0) return issue(lengthBytes, offsetBytes);
    const partBytes = this.tracker.shape.regionBytes * REGIONS_PER_CALL_MAX;
    if (lengthBytes <= partBytes) return this.#empty(lengthBytes, offsetBytes, kind, issue);
    return this.#eachPart(lengthBytes, offsetBytes, kind, issue);
  }

  async #eachPart(
    lengthBytes: number,
    offsetBytes: number,
    kind: 'zero' | 'discarded',
    issue: Issue,
  ): Promise<void> {
    const partBytes = this.tracker.shape.regionBytes * REGIONS_PER_CALL_MAX;
    const endBytes = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < endBytes; ) {
      const stop = Math.min(endBytes, (Math.floor(at / partBytes) + 1) * partBytes);
      await this.#empty(stop - at, at, kind, issue);
      at = stop;
    }
  }

  #empty(
    lengthBytes: number,
    offsetBytes: number,
    kind: 'zero' | 'discarded',
    issue: Issue,
  ): Answer {
    const first = Math.floor(offsetBytes / BLOCK_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES);
    const act = (): Answer => {
      // A write that is on its way may land later, and one that is issued later unmarks it again.
      const busy = overlapping(this.#flights, first, last);
      if (busy === undefined) this.tracker.markEmpty(kind, offsetBytes, lengthBytes);
      return orElse(
        () => issue(lengthBytes, offsetBytes),
        () => this.tracker.touch(first, last), // It failed: what is there now, nobody knows.
      );
    };
    if (!this.#mayGo(first, last)) return this.#later(first, last, act);
    const answer = act();
    return answer === undefined ? answer : this.#fly(first, last, answer);
  }

  async #fly(first: number, last: number, answer: Promise<void>): Promise<void> {
    const flight = { first, last, landed: answer };
    this.#flights.add(flight);
    try {
      await answer;
    } finally {
      this.#flights.delete(flight);
    }
  }

  /** Marked, and wanted by no moment: the change may be made in this very step. */
  #mayGo(first: number, last: number): boolean {
    if (!this.tracker.touch(first, last)) return false;
    if (this.#moments.size === 0 && this.#preImages === undefined) return true;
    return this.#kept(first, last) === undefined;
  }

  /** What to wait for before blocks are changed that moments still need. */
  #kept(first: number, last: number): Promise<void> | undefined {
    for (const moment of this.#moments) {
      const keeping = moment.keep(first, last);
      if (keeping !== undefined) return keeping;
    }
    return this.#preImages?.keep(first, last);
  }

  /**
   * Waits for the marks of cold regions, and for what moments keep. All of it is asked again after
   * each wait: a region may have been cleaned, and a cut may have come between.
   */
  async #later(first: number, last: number, act: () => Answer): Promise<void> {
    for (;;) {
      if (!this.tracker.touch(first, last)) {
        await this.#heat(first, last);
        continue;
      }
      const keeping = this.#kept(first, last);
      if (keeping === undefined) break;
      await keeping;
    }
    const answer = act();
    if (answer !== undefined) await this.#fly(first, last, answer);
  }

  async #heat(first: number, last: number): Promise<void> {
    try {
      await this.tracker.heat(first, last);
    } catch (error) {
      if (!hasCode(error, 'TRACK_STATE')) throw error;
      await this.#abandon(error as TrackError);
    }
  }

  /** Rather untracked, and known to be, than a guest that cannot write. */
  #abandon(why: TrackError): Promise<void> {
    this.#abandoning ??= this.tracker.abandon(why).then(
      () => this.#onLost?.(why),
      (cause: unknown) => {
        const message = `${this.name}: marks can neither be kept nor given up: ${why.message}`;
        throw new DeviceError('DEVICE_IO', message, { hint: why.hint, cause });
      },
    );
    return this.#abandoning;
  }
}

function orElse(act: () => Answer, failed: () => void): Answer {
  try {
    const answer = act();
    if (answer === undefined) return answer;
    return answer.catch((error: unknown) => {
      failed();
      throw error;
    });
  } catch (error) {
    failed();
    throw error;
  }
}
