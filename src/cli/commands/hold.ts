/** `ferry hold`: keeps snapshots from being forgotten, or releases them. */
import { repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { holdSpec } from '../table/retention.ts';

export const run: Run<typeof holdSpec> = async (context, { snapshots: names, release }) => {
  const { output } = context;
  await using repository = await repositoryOf(context);
  const snapshots = names.map((name) => repository.resolve(name));
  await repository.hold(snapshots, !release);
  for (const snapshot of snapshots) {
    const fields = { ...snapshotFields(snapshot), held: !release };
    output.item('snapshot', fields, `${snapshotName(snapshot)} ${release ? 'released' : 'held'}`);
  }
  output.summary({ snapshots: snapshots.length, held: !release }, '');
};
