/** What a person says about snapshots that are there: forget them, hold them, tag them. */
import { StoreError } from './errors.ts';
import { ENTRY_SNAPSHOTS_MAX } from './limits.ts';
import type { CommitLog } from './log.ts';
import type { LogChange } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { checkTag, type Snapshot } from './snapshot.ts';

export type TagChange = {
  readonly added?: readonly string[];
  readonly removed?: readonly string[];
};

/** STORE_HELD: whether one is held is looked at in the very state that is changed. */
export async function forgetSnapshots(log: CommitLog, snapshots: readonly Snapshot[]) {
  await changeSnapshots(log, snapshots, (ids, state) => {
    const held = ids.flatMap((id) => state.snapshots.get(id) ?? []).find((each) => each.held);
    if (held !== undefined) throw heldError(held);
    return { type: 'forget', snapshots: ids };
  });
}

export async function holdSnapshots(
  log: CommitLog,
  snapshots: readonly Snapshot[],
  held: boolean,
): Promise<void> {
  await changeSnapshots(log, snapshots, (ids) => ({ type: 'hold', snapshots: ids, held }));
}

export async function tagSnapshots(
  log: CommitLog,
  snapshots: readonly Snapshot[],
  { added = [], removed = [] }: TagChange,
): Promise<void> {
  for (const tag of added) checkTag(tag);
  await changeSnapshots(log, snapshots, (ids) => ({ type: 'tag', snapshots: ids, added, removed }));
}

/** Those of the snapshots that are gone by now are left out. */
async function changeSnapshots(
  log: CommitLog,
  snapshots: readonly Snapshot[],
  change: (ids: readonly string[], state: LogState) => LogChange,
): Promise<void> {
  for (let at = 0; at < snapshots.length; at += ENTRY_SNAPSHOTS_MAX) {
    const part = snapshots.slice(at, at + ENTRY_SNAPSHOTS_MAX);
    await log.append(async (state) => {
      const ids = part.flatMap(({ id }) => (state.snapshots.has(id) ? [id] : []));
      return { ...change(ids, state), generation: state.generation };
    });
  }
}

function heldError({ volume, id }: Snapshot): StoreError {
  const name = `${volume}@${id.slice(0, 8)}`;
  return new StoreError('STORE_HELD', `${name} is held; nothing was forgotten`, {
    hint: `Release it first: \`ferry hold --release ${name}\`.`,
  });
}
