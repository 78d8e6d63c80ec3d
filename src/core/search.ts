/** Search in what is sorted. */

/**
 * The first of the indices 0 to `count` - 1 for which `isBefore` does not hold, or `count`; it must
 * hold for all below that one and for none above.
 */
export function partitionPoint(count: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
