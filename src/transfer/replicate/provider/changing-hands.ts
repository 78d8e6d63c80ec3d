/** What a promotion stands on, and what its agent goes on from when it has the volume back. */
import type { Repository, Snapshot } from '../../../store/index.ts';
import type { Layers } from './layers.ts';
import type { Offer, ReplicaAuthority } from './replica-authority.ts';
import { baseGone } from './replica-errors.ts';

type Parts = {
  readonly volume: string;
  readonly repository: Repository;
  readonly authority: ReplicaAuthority;
  readonly layers: Layers;
};

/** Its changes are called in turn with those of the replica. */
export class ChangingHands {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** What was written since the promotion lies over this snapshot. */
  get standing(): Snapshot | undefined {
    return this.#find(this.#parts.authority.state.promotion?.snapshot);
  }

  /** Held, so that nothing forgets it. */
  async standOn(snapshot: Snapshot): Promise<Snapshot> {
    const { repository, authority } = this.#parts;
    await repository.hold([snapshot], true);
    await authority.standOn(snapshot.id);
    return snapshot;
  }

  /** What was offered. REPLICATE_BASE_GONE. */
  snapshotOf({ snapshot: id }: Offer): Snapshot {
    const snapshot = this.#find(id);
    if (snapshot === undefined) throw baseGone(this.#parts.volume, id);
    return snapshot;
  }

  /** It has an older epoch than the one that its agent was told of. */
  renew(epoch: number): Promise<void> {
    return this.#parts.layers.renew(epoch);
  }

  /** An agent that comes with what it was offered has taken it. */
  async greeted(authority: number): Promise<void> {
    const { offer, highest } = this.#parts.authority.state;
    if (offer !== undefined && authority === highest) await this.giveBack();
  }

  async giveBack(): Promise<void> {
    const { repository, authority, layers } = this.#parts;
    const { offer } = authority.state;
    if (offer === undefined) return;
    const before = this.standing;
    await layers.moveOn(this.snapshotOf(offer), offer.epoch);
    await authority.giveBack();
    if (before?.held === true) await repository.hold([before], false);
  }

  #find(id: string | null | undefined): Snapshot | undefined {
    const { repository, volume } = this.#parts;
    return repository.snapshots(volume).find((one) => one.id === id);
  }
}
