/** `ferry forget`: removes the snapshots that are named, or that a policy does not keep. */
import {
  isEmptyPolicy,
  type Kept,
  type Repository,
  type RetentionPolicy,
  retention,
  type Snapshot,
  StoreError,
} from '../../store/index.ts';
import { usageError } from '../errors.ts';
import { collectAndTell } from '../garbage.ts';
import { formatTime, repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import { policyOf } from '../retention-policy.ts';
import type { Run } from '../spec.ts';
import type { forgetSpec } from '../table/retention.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof forgetSpec> = async (context, values) => {
  const { output } = context;
  const { names, all, dryRun } = values;
  const policy = { ...policyOf(values), tags: values.keepTag };
  const volumes = names.filter((name) => !name.includes('@'));
  if (volumes.length > 0 && isEmptyPolicy(policy) && !all) {
    const how = `${volumes[0]} is a volume: say what to keep (--keep-last N ...), or --all`;
    throw usageError(how, 'ferry forget');
  }
  if (volumes.length < names.length && !isEmptyPolicy(policy)) {
    throw usageError('a policy is for whole volumes, not for a snapshot', 'ferry forget');
  }
  await using repository = await repositoryOf(context);
  const plan = [
    ...volumes.flatMap((volume) => planVolume(repository, volume, policy)),
    ...planNamed(repository, names),
  ];
  const forgotten = plan.filter(({ reasons }) => reasons.length === 0);
  if (!all) checkRest(repository, forgotten);
  for (const { snapshot, reasons } of plan) {
    if (!output.options.json) continue;
    const fields = { ...snapshotFields(snapshot), keep: reasons.length > 0, reasons };
    output.item('snapshot', fields, '');
  }
  if (dryRun || volumes.length > 0) output.text(tableOf(plan));
  if (!dryRun) await repository.forget(forgotten.map(({ snapshot }) => snapshot));
  const kept = plan.length - forgotten.length;
  const what = dryRun ? 'would be forgotten' : 'forgotten';
  const hint = dryRun || values.gc || forgotten.length === 0 ? '' : '; `ferry gc` frees the room';
  const text = `${counted(forgotten.length)} ${what}, ${kept} kept${hint}`;
  const fields = { forgotten: forgotten.length, kept, dryRun };
  if (!values.gc) return output.summary(fields, text);
  output.status({ state: 'forgotten', ...fields }, text);
  await collectAndTell(context, repository, { dryRun });
};

function planVolume(repository: Repository, volume: string, policy: RetentionPolicy): Kept[] {
  repository.resolve(volume); // There must be such a volume.
  return retention(repository.snapshots(volume), policy);
}

/** Snapshots that were named go, each once; a held one is refused when it comes to that. */
function planNamed(repository: Repository, names: readonly string[]): Kept[] {
  const named = new Map<string, Snapshot>();
  for (const name of names.filter((each) => each.includes('@'))) {
    const snapshot = repository.resolve(name);
    named.set(snapshot.id, snapshot);
  }
  return [...named.values()].map((snapshot) => ({ snapshot, reasons: [] }));
}

/** A volume without any snapshot is rarely what was meant. */
function checkRest(repository: Repository, forgotten: readonly Kept[]): void {
  const ids = new Set(forgotten.map(({ snapshot }) => snapshot.id));
  for (const volume of new Set(forgotten.map(({ snapshot }) => snapshot.volume))) {
    if (repository.snapshots(volume).some(({ id }) => !ids.has(id))) continue;
    const message = `${volume} would have no snapshot left; nothing was forgotten`;
    throw new StoreError('STORE_LAST_SNAPSHOT', message, {
      hint: 'Keep more, or say --all if that is what you want.',
    });
  }
}

function tableOf(plan: readonly Kept[]): string {
  const columns = [
    { title: 'SNAPSHOT' },
    { title: 'TIME' },
    { title: 'KEEP' },
    { title: 'REASONS' },
    { title: 'TAGS' },
  ];
  const rows = plan.map(({ snapshot, reasons }) => [
    snapshotName(snapshot),
    formatTime(snapshot.time),
    reasons.length > 0 ? 'keep' : 'forget',
    reasons.join(', '),
    snapshot.tags.join(' '),
  ]);
  return textTable(columns, rows);
}

function counted(count: number): string {
  return count === 1 ? '1 snapshot' : `${count} snapshots`;
}
