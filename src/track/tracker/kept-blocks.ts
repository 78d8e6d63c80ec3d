/** Blocks kept aside: in memory first, then in a file, up to a bound. */
import { type Files, type OpenFile, readFully, writeFully } from '../../core/index.ts';
import type { Answer } from '../../device/index.ts';
import { TrackError } from '../errors.ts';
import { BLOCK_BYTES } from './limits.ts';

export type KeptOptions = {
  readonly files: Files;
  /** Made when memory is full, removed at the end. */
  readonly path: string;
  readonly memoryBytesMax: number;
  readonly roomBytesMax: number;
};

/** The slot of a block that holds nothing but zeroes: it takes no room. */
const ZERO_SLOT = -1;

const zeroBlock = new Uint8Array(BLOCK_BYTES);

export class KeptBlocks {
  readonly #options: KeptOptions;
  readonly #slots = new Map<number, number>();
  readonly #memory: Uint8Array[] = [];
  readonly #memorySlots: number;
  #count = 0;
  #file: OpenFile | undefined;
  #opening: Promise<OpenFile> | undefined;

  constructor(options: KeptOptions) {
    this.#options = options;
    this.#memorySlots = Math.floor(options.memoryBytesMax / BLOCK_BYTES);
  }

  has(block: number): boolean {
    return this.#slots.has(block);
  }

  get keptBytes(): number {
    return this.#count * BLOCK_BYTES;
  }

  /** Takes a copy of one block's bytes. TRACK_ROOM if there is no room, ENV_* if no disk. */
  put(block: number, bytes: Uint8Array): Answer {
    if (Buffer.compare(bytes, zeroBlock.subarray(0, bytes.byteLength)) === 0) {
      this.#slots.set(block, ZERO_SLOT);
      return undefined;
    }
    const slot = this.#count;
    if ((slot + 1) * BLOCK_BYTES > this.#options.roomBytesMax) throw this.#full();
    this.#count++;
    if (slot < this.#memorySlots) {
      this.#memory.push(bytes.slice());
      this.#slots.set(block, slot);
      return undefined;
    }
    const offsetBytes = (slot - this.#memorySlots) * BLOCK_BYTES;
    if (this.#file?.writeAtOnce?.(bytes, offsetBytes) === true) {
      this.#slots.set(block, slot);
      return undefined;
    }
    return this.#spill(block, slot, bytes.slice(), offsetBytes);
  }

  /** Fills `target` from `fromBytes` of a block that was put. */
  read(target: Uint8Array, block: number, fromBytes: number): Answer {
    const slot = this.#slots.get(block)!;
    if (slot === ZERO_SLOT) target.fill(0);
    else if (slot < this.#memorySlots) {
      target.set(this.#memory[slot]!.subarray(fromBytes, fromBytes + target.byteLength));
    } else {
      const offsetBytes = (slot - this.#memorySlots) * BLOCK_BYTES + fromBytes;
      if (this.#file!.readAtOnce?.(target, offsetBytes) !== true) {
        return this.#fetch(target, offsetBytes);
      }
    }
    return undefined;
  }

  async close(): Promise<void> {
    this.#slots.clear();
    this.#memory.length = 0;
    const file = await this.#opening?.catch(() => undefined);
    if (file === undefined) return;
    await file.close();
    await this.#options.files.remove(this.#options.path);
  }

  async #spill(block: number, slot: number, bytes: Uint8Array, offsetBytes: number): Promise<void> {
    const { files, path } = this.#options;
    this.#opening ??= files.open(path, 'write');
    this.#file = await this.#opening;
    await writeFully(this.#file, bytes, offsetBytes);
    this.#slots.set(block, slot);
  }

  async #fetch(target: Uint8Array, offsetBytes: number): Promise<void> {
    await readFully(this.#file!, target, offsetBytes);
  }

  #full(): TrackError {
    const { roomBytesMax } = this.#options;
    const message = `more than ${roomBytesMax} bytes were overwritten before they were read`;
    const hint = 'Back up at a quieter time, or give it more room with --moment-room.';
    return new TrackError('TRACK_ROOM', message, { hint });
  }
}
