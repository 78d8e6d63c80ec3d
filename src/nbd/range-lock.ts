/** Makes overlapping requests take effect in the order in which they came. */
import assert from 'node:assert/strict';

/** A request that holds, or waits for, a range. The lock links them; the fields are its own. */
export interface Claim {
  offsetBytes: number;
  lengthBytes: number;
  /** Two that only read never wait for each other. */
  writes: boolean;
  /** Called when a claim that had to wait may go on. */
  proceed(): void;
  earlier: Claim | undefined;
  later: Claim | undefined;
  /** The first of those that wait for this one, and the next that waits for the same. */
  waiting: Claim | undefined;
  nextWaiting: Claim | undefined;
}

const GRANULE_BYTES = 64 * 1024;
const COUNTERS = 4096;
/** A longer range would touch too many counters; such claims are counted together. */
const GRANULES_MAX = 16;

/**
 * Claims stand in one list by arrival. A new one waits for the latest earlier one that conflicts;
 * when that leaves, it looks for another further back. Counters per hashed granule tell for almost
 * every request, without a look at the list, that nothing overlaps; without claims nothing is done
 * at all, so a device that answers at once pays one comparison.
 */
export class RangeLock {
  readonly #alignBytes: number;
  readonly #counters = new Uint32Array(COUNTERS);
  #wide = 0;
  #writers = 0;
  #count = 0;
  #last: Claim | undefined;

  /** Ranges are widened to multiples of `alignBytes`: what a read-modify-write touches. */
  constructor(alignBytes = 1) {
    this.#alignBytes = alignBytes;
    // Two claims on one block need not share a granule then: the list is looked through each time.
    if (alignBytes > GRANULE_BYTES) this.#wide = 1;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether nothing that is in flight or waits conflicts with the range. */
  isFree(offsetBytes: number, lengthBytes: number, writes: boolean): boolean {
    if (this.#count === 0 || (!writes && this.#writers === 0)) return true;
    if (!this.#mayOverlap(offsetBytes, lengthBytes)) return true;
    return this.#find(this.#last, offsetBytes, lengthBytes, writes) === undefined;
  }

  /** Takes its place. True: go on at once. False: `proceed` will be called. */
  enter(claim: Claim): boolean {
    const { offsetBytes, lengthBytes, writes } = claim;
    const isFree =
      this.#count === 0 ||
      (!writes && this.#writers === 0) ||
      !this.#mayOverlap(offsetBytes, lengthBytes);
    const blocker = isFree ? undefined : this.#find(this.#last, offsetBytes, lengthBytes, writes);
    claim.earlier = this.#last;
    claim.later = undefined;
    claim.waiting = undefined;
    if (this.#last !== undefined) this.#last.later = claim;
    this.#last = claim;
    this.#tally(claim, 1);
    if (blocker === undefined) return true;
    claim.nextWaiting = blocker.waiting;
    blocker.waiting = claim;
    return false;
  }

  leave(claim: Claim): void {
    const { earlier, later } = claim;
    if (earlier !== undefined) earlier.later = later;
    if (later !== undefined) later.earlier = earlier;
    else {
      assert(this.#last === claim, 'a claim leaves that never entered');
      this.#last = earlier;
    }
    this.#tally(claim, -1);
    let next = claim.waiting;
    claim.waiting = claim.earlier = claim.later = undefined;
    // First all get their new place, then they run: what they call may enter and leave again.
    const freed: Claim[] = [];
    while (next !== undefined) {
      const after = next.nextWaiting;
      next.nextWaiting = undefined;
      const { offsetBytes, lengthBytes, writes } = next;
      const blocker = this.#find(next.earlier, offsetBytes, lengthBytes, writes);
      if (blocker === undefined) freed.push(next);
      else {
        next.nextWaiting = blocker.waiting;
        blocker.waiting = next;
      }
      next = after;
    }
    for (const waiter of freed) waiter.proceed();
  }

  #tally(claim: Claim, by: 1 | -1): void {
    this.#count += by;
    if (claim.writes) this.#writers += by;
    const first = Math.floor(claim.offsetBytes / GRANULE_BYTES);
    const last = this.#lastGranule(claim.offsetBytes, claim.lengthBytes);
    if (last - first >= GRANULES_MAX) this.#wide += by;
    else for (let at = first; at <= last; at += 1) this.#counters[at % COUNTERS]! += by;
  }

  #lastGranule(offsetBytes: number, lengthBytes: number): number {
    return Math.floor((offsetBytes + Math.max(lengthBytes, 1) - 1) / GRANULE_BYTES);
  }

  #mayOverlap(offsetBytes: number, lengthBytes: number): boolean {
    if (this.#wide > 0) return true;
    const first = Math.floor(offsetBytes / GRANULE_BYTES);
    const last = this.#lastGranule(offsetBytes, lengthBytes);
    if (last - first >= GRANULES_MAX) return true;
    for (let at = first; at <= last; at += 1) if (this.#counters[at % COUNTERS]! > 0) return true;
    return false;
  }

  /** The latest claim from `from` backwards that conflicts with the range. */
  #find(
    from: Claim | undefined,
    offsetBytes: number,
    lengthBytes: number,
    writes: boolean,
  ): Claim | undefined {
    const align = this.#alignBytes;
    const start = Math.floor(offsetBytes / align) * align;
    const end = Math.ceil((offsetBytes + lengthBytes) / align) * align;
    for (let claim = from; claim !== undefined; claim = claim.earlier) {
      if (!writes && !claim.writes) continue;
      const claimEnd = Math.ceil((claim.offsetBytes + claim.lengthBytes) / align) * align;
      const claimStart = Math.floor(claim.offsetBytes / align) * align;
      if (claimStart < end && start < claimEnd) return claim;
    }
    return undefined;
  }
}
