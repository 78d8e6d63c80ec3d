/** `ferry tag`: gives snapshots words, or takes them away. */
import { usageError } from '../errors.ts';
import { repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { tagSpec } from '../table/retention.ts';

export const run: Run<typeof tagSpec> = async (context, { snapshots: names, add, remove }) => {
  const { output } = context;
  if (add.length + remove.length === 0) throw usageError('say --add or --remove', 'ferry tag');
  await using repository = await repositoryOf(context);
  const snapshots = names.map((name) => repository.resolve(name));
  await repository.tag(snapshots, { added: add, removed: remove });
  for (const { id } of snapshots) {
    const snapshot = repository.snapshots().find((each) => each.id === id);
    if (snapshot === undefined) continue; // Forgotten at the same moment.
    const words = snapshot.tags.length === 0 ? 'no tags' : snapshot.tags.join(' ');
    output.item('snapshot', snapshotFields(snapshot), `${snapshotName(snapshot)}: ${words}`);
  }
  output.summary({ snapshots: snapshots.length }, '');
};
