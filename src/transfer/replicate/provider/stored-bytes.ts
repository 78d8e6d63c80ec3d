/** Stored bytes: what each agent has in the repository and in journals, as of late. */

import { journalBytesOf, replicaStates, snapshotBytes } from './holdings.ts';
import { replicaFolder } from './new-replica.ts';
import type { ProviderOptions } from './provider.ts';
import type { Replica } from './replica.ts';

/** Between two looks at what the snapshots of an agent take. */
const LOOK_MS = 5_000;

type StoredBytesOptions = Pick<ProviderOptions, 'env' | 'directory' | 'repository'>;

export class StoredBytes {
  readonly #options: StoredBytesOptions;
  readonly #snapshots = new Map<string, { readonly bytes: number; readonly atMs: number }>();
  /** Replicas that were here before anybody opened one. */
  readonly #found = new Map<string, { readonly owner: string; readonly journalBytes: number }>();
  #finding: Promise<void> | undefined;
  readonly #opened = new Map<string, Replica>();

  constructor(options: StoredBytesOptions) {
    this.#options = options;
  }

  /** What earlier lives have left behind: once, before the first one is opened. */
  find(): Promise<void> {
    const { env, directory } = this.#options;
    this.#finding ??= replicaStates(env, directory).then(async (states) => {
      for (const state of states) {
        const { volume, owner } = state;
        const folder = `${directory}/${replicaFolder(volume)}`;
        this.#found.set(volume, { owner, journalBytes: await journalBytesOf(env, folder, state) });
      }
    });
    return this.#finding;
  }

  /** Of a replica that nobody has opened since. */
  foundBytes(volume: string): number {
    return this.#found.get(volume)?.journalBytes ?? 0;
  }

  opened(replica: Replica): void {
    this.#found.delete(replica.volume);
    this.#opened.set(replica.volume, replica);
  }

  of(agent: string): number {
    const { env, repository } = this.#options;
    const nowMs = env.clock.monotonicMs();
    let known = this.#snapshots.get(agent);
    if (known === undefined || nowMs - known.atMs >= LOOK_MS) {
      known = { bytes: snapshotBytes(repository, agent), atMs: nowMs };
      this.#snapshots.set(agent, known);
    }
    let { bytes } = known;
    for (const one of [...this.#found.values(), ...this.#opened.values()]) {
      if (one.owner === agent) bytes += one.journalBytes;
    }
    return bytes;
  }
}
