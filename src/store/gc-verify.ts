/**
 * Looks, for the very state of the log on which a step is to be committed, whether anything is
 * needed of packs that the step condemns or drops. Those are spared.
 */
import type { Collection } from './gc.ts';
import { Reach } from './gc-reach.ts';
import type { LogState } from './log-state.ts';

export class Verifier {
  readonly #run: Collection;
  readonly #reach: Reach;
  readonly #condemned: Set<string>;
  readonly #closed = new Set<string>();
  /** Packs that are needed after all. */
  readonly spared = new Set<string>();

  constructor(run: Collection, condemned: ReadonlySet<string>) {
    this.#run = run;
    this.#condemned = new Set(condemned);
    this.#reach = new Reach({
      index: run.index,
      reader: run.parts.reader,
      parents: run.parents,
      onCondemned: ({ packId }) => this.#spare(packId),
      onProgress: (nodes) => run.progress('verifying', nodes),
      signal: run.options.signal,
    });
  }

  /** Once more for a later state of the same generation: only what is new is looked at. */
  async check(state: LogState, added: readonly string[]): Promise<void> {
    const { sync } = this.#run.parts;
    await this.#run.syncTo(state);
    this.#run.index.setCondemned(this.#condemned);
    for (const snapshot of await this.#run.roots(state)) await this.#reach.snapshot(snapshot);
    const packs = new Set([...sync.named(state), ...added]);
    // A spared pack stays, so what its patches stand on must stay as well.
    for (let before = -1; before !== this.#closed.size; ) {
      before = this.#closed.size;
      for (const pack of packs) {
        if (this.#closed.has(pack) || this.#condemned.has(pack)) continue;
        this.#closed.add(pack);
        await this.#reach.pack(pack);
      }
    }
  }

  #spare(packId: string): void {
    this.spared.add(packId);
    this.#condemned.delete(packId);
    this.#run.index.setCondemned(this.#condemned);
  }
}
