/** An epoch of a group becomes the state of all its members, or of none, whatever fails. */
import { messageOf } from '../../../core/index.ts';
import type { EpochCommit } from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import type { Decisions } from './group-decision.ts';
import { inTurnOfAll } from './in-turn.ts';
import type { Replica } from './replica.ts';

export type Committing = { readonly replica: Replica; readonly commit: EpochCommit };

/**
 * False while something of it is missing. Each journal says "ready", then the decision is made,
 * then each journal says "commit"; one that ends with "ready" asks for the decision when it is
 * opened.
 */
export function commitTogether(
  all: readonly Committing[],
  group: EpochGroup,
  decisions: Decisions,
): Promise<boolean> {
  const replicas = all.map(({ replica }) => replica);
  return inTurnOfAll(replicas, async () => {
    const states = new Set(all.map(({ replica, commit }) => replica.isWhole(commit)));
    if (states.has('missing')) return false;
    if (!states.has('whole')) return true;
    const { epoch } = all[0]!.commit;
    if (states.size > 1 || all.some(({ commit }) => commit.epoch !== epoch)) {
      throw protocolBreach(`the members of ${group.name} are not at one epoch`);
    }
    const decision = { owner: replicas[0]!.owner, group, epoch };
    try {
      await allDone(all.map(({ replica, commit }) => replica.ready(commit, group)));
      await decisions.decide(decision);
      await allDone(all.map(({ replica, commit }) => replica.settle(commit, group)));
      await decisions.forget(decision);
    } catch (error) {
      const failure = undecided(group.name, epoch, error);
      for (const replica of replicas) replica.fail(failure);
      throw failure;
    }
    for (const replica of replicas) replica.proceed();
    return true;
  });
}

/** Waits for all of them, whatever becomes of one: nothing is under way afterwards. */
async function allDone(all: readonly Promise<void>[]): Promise<void> {
  for (const one of await Promise.allSettled(all)) if (one.status === 'rejected') throw one.reason;
}

function undecided(name: string, epoch: number, cause: unknown): ReplicateError {
  const message = `epoch ${epoch} of the group ${name} could not be written: ${messageOf(cause)}`;
  return new ReplicateError('REPLICATE_JOURNAL_FAILED', message, {
    hint: 'Make room or repair the disk of the state directory; the agent tries again.',
    cause,
  });
}
