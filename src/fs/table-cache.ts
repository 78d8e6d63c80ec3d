/** Structures that were read lately: the oldest go when the room is used up. */

/** One reading per place, also for callers that ask at the same time. */
export class TableCache<T> {
  readonly #entriesMax: number;
  readonly #entries = new Map<number, Promise<T>>();

  constructor(entriesMax: number) {
    this.#entriesMax = Math.max(1, entriesMax);
  }

  get(offsetBytes: number, load: () => Promise<T>): Promise<T> {
    const found = this.#entries.get(offsetBytes);
    if (found !== undefined) {
      this.#entries.delete(offsetBytes);
      this.#entries.set(offsetBytes, found); // A Map remembers the order: the last is the newest.
      return found;
    }
    const loading = load();
    this.#entries.set(offsetBytes, loading);
    // A failure is not kept: the next one who asks reads again.
    loading.catch(() => this.#entries.delete(offsetBytes));
    if (this.#entries.size > this.#entriesMax) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
    return loading;
  }
}
