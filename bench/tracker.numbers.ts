/** Numbered writes: from the content of a moment follows which of them it holds. */

export const BLOCK_BYTES = 4096;
/** Requests that the writer has in flight; writes further apart than that are in order. */
export const IN_FLIGHT_MAX = 32;

/** What the writer tells of a window. */
export type Window = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The longest time without an answer, or of one. */
  readonly stallMs: number;
  readonly seconds: number;
  readonly bytesPerSecond: number;
};

/** Where a write goes: spread over the whole volume, each block once in a round of it. */
export function blockOf(number: number, blocks: number): number {
  return (number * 2_654_435_761) % blocks;
}

/**
 * Why an image is no moment of a volume that got numbered writes; undefined if it is one. A write
 * was sent only when all but `IN_FLIGHT_MAX` before it were answered: with one, all of those must
 * be there, or a later one at their place.
 */
export function whyNoMoment(image: Buffer, writes: number): string | undefined {
  const blocks = image.byteLength / BLOCK_BYTES;
  const found = Array.from({ length: blocks }, (_, block) => numberIn(image, block));
  const newest = found.reduce((a, b) => Math.max(a, b), -1);
  for (let number = 0; number <= newest - IN_FLIGHT_MAX; number++) {
    const there = found[blockOf(number, blocks)]!;
    if (there < number) return `write ${newest} is there, and ${number} is not`;
  }
  return undefined;

  function numberIn(bytes: Buffer, block: number): number {
    const number = bytes.readDoubleLE(block * BLOCK_BYTES);
    const isOurs = Number.isInteger(number) && number >= 0 && number < writes;
    return isOurs && blockOf(number, blocks) === block ? number : -1;
  }
}
