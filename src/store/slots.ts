/** A fixed set of things to borrow: whoever finds none free waits in line. */
import assert from 'node:assert/strict';

export class Slots<T> {
  readonly #free: T[];
  readonly #waiting: ((item: T) => void)[] = [];
  readonly #count: number;

  constructor(items: readonly T[]) {
    assert(items.length > 0);
    this.#free = [...items];
    this.#count = items.length;
  }

  async take(): Promise<T> {
    const item = this.#free.pop();
    if (item !== undefined) return item;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(item: T): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next(item);
    else this.#free.push(item);
    assert(this.#free.length <= this.#count, 'a slot was given back twice');
  }
}
