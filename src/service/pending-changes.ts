/** What of a replica has changed since another provider had all of it; bounded. */
import { type Extent, ExtentSet } from '../core/index.ts';

/** More ranges than this are not remembered: both sides are compared then. */
const RANGES_MAX = 100_000;

export class PendingChanges {
  /** Undefined: not known, or too many. */
  #changed: ExtentSet | undefined;
  /** Of the epoch that the other one has, as far as this process knows. */
  #mark: string | undefined;

  add(changed: readonly Extent[]): void {
    this.#changed?.addAll(changed);
    if (this.#changed !== undefined && this.#changed.count > RANGES_MAX) this.#changed = undefined;
  }

  /**
   * What to send to whoever holds `mark`; from here on changes count anew. Taken before the replica
   * is looked at, so that what comes in between is sent twice rather than never.
   */
  take(mark: string | undefined): ExtentSet | undefined {
    const changed = mark !== undefined && mark === this.#mark ? this.#changed : undefined;
    this.#changed = new ExtentSet();
    this.#mark = undefined;
    return changed;
  }

  /** All that was taken is there. */
  sent(mark: string): void {
    this.#mark = mark;
  }
}
