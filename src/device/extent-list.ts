/** Building the answer of `extents`: merged, clipped and bounded. */
import assert from 'node:assert/strict';
import type { Device, DeviceExtent, ExtentKind } from './device.ts';

/** Collects neighbouring extents in ascending order; equal kinds that touch become one. */
export class ExtentList {
  readonly extents: DeviceExtent[] = [];
  readonly #endBytes: number;
  readonly #limit: number;
  #atBytes: number;

  constructor(lengthBytes: number, offsetBytes: number, limit: number) {
    assert(Number.isSafeInteger(limit) && limit > 0, 'at least one extent must be asked for');
    this.#atBytes = offsetBytes;
    this.#endBytes = offsetBytes + lengthBytes;
    this.#limit = limit;
  }

  /** Where the next extent begins. */
  get atBytes(): number {
    return this.#atBytes;
  }

  /** Nothing more may be added: the range is covered, or the limit is reached. */
  get full(): boolean {
    return this.#atBytes >= this.#endBytes || this.extents.length >= this.#limit;
  }

  /** Adds [atBytes, endBytes), clipped to the range; an empty one is skipped. */
  add(endBytes: number, kind: ExtentKind): void {
    const end = Math.min(endBytes, this.#endBytes);
    const lengthBytes = end - this.#atBytes;
    if (lengthBytes <= 0) return;
    const last = this.extents.at(-1);
    if (last?.kind === kind) {
      const grown = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
      this.extents[this.extents.length - 1] = grown;
    } else {
      this.extents.push({ offsetBytes: this.#atBytes, lengthBytes, kind });
    }
    this.#atBytes = end;
  }
}

/** All extents of a range, page by page. */
export async function* eachExtent(
  device: Device,
  lengthBytes: number,
  offsetBytes: number,
  pageLimit = 1024,
): AsyncGenerator<DeviceExtent, void, undefined> {
  const endBytes = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < endBytes; ) {
    const page = await device.extents(endBytes - at, at, pageLimit);
    assert(page.length > 0, `${device.name} described nothing at ${at}`);
    for (const extent of page) yield extent;
    const last = page.at(-1)!;
    at = last.offsetBytes + last.lengthBytes;
  }
}
