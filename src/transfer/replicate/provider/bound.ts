/** A volume that a session has open, under the agent's number; those that are committed with it. */
import type { ErrorMessage, Incoming } from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { protocolBreach } from '../errors.ts';
import { EARLY_MESSAGES_MAX } from '../limits.ts';
import type { Replica } from './replica.ts';

export type Refused = Omit<ErrorMessage, 'isFatal'>;

export class Bound {
  readonly replica: Replica;
  readonly group: EpochGroup | undefined;
  /** The epoch that has begun, and what came too early for it. */
  #epoch = 0;
  #early: Incoming[] = [];
  /** Waits until all of the epoch is here. */
  commit: Incoming | undefined;
  /** The epoch was refused: nothing of it counts. Its agent is told, also after a broken link. */
  refusal: Refused | undefined;

  constructor(replica: Replica, group: EpochGroup | undefined) {
    this.replica = replica;
    this.group = group;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Answers what came too early for it. */
  begun(epoch: number): readonly Incoming[] {
    this.#epoch = epoch;
    // Of an epoch that was given up: nobody waits for it any more.
    this.commit?.done();
    this.commit = undefined;
    this.refusal = undefined;
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** What belongs to an epoch that has not begun here waits for its beginning. */
  isEarly(epoch: number, message: Incoming): boolean {
    if (epoch <= Math.max(this.#epoch, this.replica.seenEpoch)) return false;
    if (this.#early.length >= EARLY_MESSAGES_MAX) {
      throw protocolBreach(`${EARLY_MESSAGES_MAX} messages came before their EPOCH_CUT`);
    }
    this.#early.push(message);
    return true;
  }

  /** REPLICATE_PROTOCOL if a group has it open already: it would wait for itself. */
  checkOnce(open: Iterable<Bound>): void {
    const { volume } = this.replica;
    for (const { group, replica } of this.group === undefined ? [] : open) {
      if (group === undefined || replica.volume !== volume) continue;
      throw protocolBreach(`${volume} is opened with a group twice`);
    }
  }

  /** Itself and the others of its group; undefined until the session has all of them open. */
  together(all: Iterable<Bound>): readonly Bound[] | undefined {
    const { group } = this;
    if (group === undefined) return [this];
    const own = [...all].filter((one) => one.group?.name === group.name);
    const there = new Set(own.map(({ replica }) => replica.volume));
    return group.members.every((name) => there.has(name)) ? own : undefined;
  }
}
