/** The one link of a simulated network: while it is cut, what is sent waits, and nobody is told. */

export class Link {
  #waiting: (() => void)[] | undefined;

  get isCut(): boolean {
    return this.#waiting !== undefined;
  }

  /** Runs it now, or once the link is mended. */
  pass(run: () => void): void {
    if (this.#waiting === undefined) run();
    else this.#waiting.push(run);
  }

  cut(): void {
    this.#waiting ??= [];
  }

  mend(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const run of waiting) run();
  }
}
