/** Numbers of the packets that came lately: nothing is taken twice, and ACKs say what came. */
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding } from '../errors.ts';

/** How far back: 19 MB of full packets; what is older is taken for a replay. A power of two. */
export const WINDOW_PACKETS = 16_384;
/** Runs in one ACK; the newest are told, older ones were told before. */
const RUNS_MAX = 160;

/** A run of packets that came: numbers `[first, last]`. */
export type Run = { readonly first: number; readonly last: number };

export class PacketWindow {
  readonly #seen = new Uint8Array(WINDOW_PACKETS);
  #largest = 0;

  get largest(): number {
    return this.#largest;
  }

  /** False: it came before, or is too old to tell. */
  isNew(number: number): boolean {
    if (number > this.#largest) return true;
    if (number <= this.#largest - WINDOW_PACKETS || number === 0) return false;
    return this.#seen[number % WINDOW_PACKETS] === 0;
  }

  /** Answers whether packets before it are missing that a later one shows for the first time. */
  add(number: number): boolean {
    const isGap = number > this.#largest + 1;
    if (number > this.#largest) {
      const from = Math.max(this.#largest + 1, number - WINDOW_PACKETS + 1);
      for (let missing = from; missing < number; missing += 1) {
        this.#seen[missing % WINDOW_PACKETS] = 0;
      }
      this.#largest = number;
    }
    this.#seen[number % WINDOW_PACKETS] = 1;
    return isGap;
  }

  /** Newest first: the length of the first run, then gaps and lengths in turn. */
  putRuns(writer: ByteWriter): void {
    const floor = Math.max(1, this.#largest - WINDOW_PACKETS + 1);
    writer.varint(this.#largest);
    let number = this.#largest;
    for (let run = 0; run < RUNS_MAX && number >= floor; run += 1) {
      const last = number;
      while (number >= floor && this.#seen[number % WINDOW_PACKETS] === 1) number -= 1;
      writer.varint(last - number);
      const gapStart = number;
      while (number >= floor && this.#seen[number % WINDOW_PACKETS] === 0) number -= 1;
      if (number < floor) return;
      writer.varint(gapStart - number);
    }
    if (number >= floor) writer.varint(0);
  }
}

/** Newest first. A run of no packets is only ever the end. */
export function readRuns(body: Uint8Array): Run[] {
  return decoding('an ACK of packets', () => {
    const reader = new ByteReader(body);
    const runs: Run[] = [];
    let last = reader.varint();
    while (reader.remaining > 0) {
      const length = reader.varint();
      if (length === 0) break;
      if (length > last || runs.length > RUNS_MAX) throw new FormatError('it names no packets');
      runs.push({ first: last - length + 1, last });
      last -= length;
      if (reader.remaining === 0) break;
      const gap = reader.varint();
      if (gap === 0 || gap >= last) throw new FormatError('it has a gap of nothing');
      last -= gap;
    }
    return runs;
  });
}

export function makeAck(window: PacketWindow, delayUs: number): Uint8Array {
  const writer = new ByteWriter(512);
  writer.u8(Math.min(255, Math.round(delayUs / 100)));
  window.putRuns(writer);
  return writer.view();
}
