/** View: one epoch of a volume as a read-only Device, over a snapshot and what journals hold. */
import { FerryError } from '../../../core/index.ts';
import {
  type Answer,
  anyBlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  ExtentList,
} from '../../../device/index.ts';
import type { Chunks } from './chunks.ts';
import { firstBehind, type Piece } from './pieces.ts';
import type { SectionCache } from './section-cache.ts';

export type ViewOptions = {
  readonly name: string;
  readonly sizeBytes: number;
  /** What lies below the pieces; zeroes if there is nothing. It may be shorter. */
  readonly base: Device | undefined;
  readonly pieces: readonly Piece[];
  readonly sections: SectionCache;
  readonly chunks: Chunks;
};

/** Borrows everything; the journals of its pieces must stay open, see `Journal.use`. */
export class View implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = anyBlockSizes;
  readonly readOnly = true;
  readonly durable = true;
  readonly hints: DeviceHints = { rotational: false, fastZero: false };
  readonly #options: ViewOptions;

  constructor(options: ViewOptions) {
    this.name = options.name;
    this.sizeBytes = options.sizeBytes;
    this.#options = options;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    if (target.byteLength === 0) return undefined;
    return this.#read(target, offsetBytes);
  }

  async #read(target: Uint8Array, offsetBytes: number): Promise<void> {
    const { pieces } = this.#options;
    const endBytes = offsetBytes + target.byteLength;
    const part = (from: number, to: number) =>
      target.subarray(from - offsetBytes, to - offsetBytes);
    let at = offsetBytes;
    for (let index = firstBehind(pieces, offsetBytes); at < endBytes; index += 1) {
      const piece = pieces[index];
      const start = Math.min(piece?.offsetBytes ?? endBytes, endBytes);
      if (start > at) await this.#readBase(part(at, start), at);
      if (piece === undefined || start === endBytes) return;
      const from = Math.max(at, start);
      const to = Math.min(piece.offsetBytes + piece.lengthBytes, endBytes);
      await this.#readPiece(part(from, to), piece, piece.skipBytes + from - piece.offsetBytes);
      at = to;
    }
  }

  async #readBase(target: Uint8Array, offsetBytes: number): Promise<void> {
    const { base } = this.#options;
    const there = Math.max(0, Math.min(target.byteLength, (base?.sizeBytes ?? 0) - offsetBytes));
    if (there > 0) await base!.read(target.subarray(0, there), offsetBytes);
    target.fill(0, there);
  }

  async #readPiece(target: Uint8Array, { content }: Piece, skipBytes: number): Promise<void> {
    if (content.kind === 'zero') {
      target.fill(0);
      return;
    }
    try {
      const { sections, chunks } = this.#options;
      if (content.kind === 'section') await sections.fill(target, content, skipBytes);
      else {
        const bytes = await chunks.read(content.hash, content.lengthBytes);
        target.set(bytes.subarray(skipBytes, skipBytes + target.byteLength));
      }
    } catch (error) {
      if (!(error instanceof FerryError) || error instanceof DeviceError) throw error;
      const { hint } = error;
      throw new DeviceError('DEVICE_IO', `${this.name}: ${error.message}`, { hint, cause: error });
    }
  }

  write(source: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
  }

  flush(): Answer {
    // A view never changes.
  }

  zero(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  trim(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    const { pieces } = this.#options;
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    const endBytes = offsetBytes + lengthBytes;
    for (let index = firstBehind(pieces, offsetBytes); !list.full; index += 1) {
      const piece = pieces[index];
      const start = Math.min(piece?.offsetBytes ?? endBytes, endBytes);
      if (start > list.atBytes) await this.#addBase(list, start, limit);
      if (piece === undefined || list.full) break;
      const kind = piece.content.kind === 'zero' ? 'zero' : 'data';
      list.add(piece.offsetBytes + piece.lengthBytes, kind);
    }
    return list.extents;
  }

  async #addBase(list: ExtentList, endBytes: number, limit: number): Promise<void> {
    const { base } = this.#options;
    const baseEnd = Math.min(endBytes, base?.sizeBytes ?? 0);
    while (!list.full && list.atBytes < baseEnd) {
      const at = list.atBytes;
      for (const extent of await base!.extents(baseEnd - at, at, limit)) {
        if (!list.full) list.add(extent.offsetBytes + extent.lengthBytes, extent.kind);
      }
    }
    if (!list.full && list.atBytes < endBytes) list.add(endBytes, 'hole');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Base and journals belong to the replica.
  }
}
