/** `ferry mount`: serves a snapshot over NBD; with --rw, writes go to a layer beside it. */

import { dirname } from 'node:path';
import { messageOf } from '../../core/index.ts';
import type { ServeTlsOptions } from '../../nbd/index.ts';
import { checkVolumeName, type Repository, type Snapshot } from '../../store/index.ts';
import type { BackupRequest } from '../../transfer/backup/index.ts';
import { type Mount, mount } from '../../transfer/mount/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { layerDirectory, otherLayers } from '../layers.ts';
import { formatTime, repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import { serveUntilStopped } from '../serving.ts';
import { formatSize } from '../sizes.ts';
import type { Run, Values } from '../spec.ts';
import { makeStateDirectory } from '../state-directory.ts';
import type { mountSpec } from '../table/serving.ts';
import { serveTlsOf } from '../tls-credentials.ts';

export const run: Run<typeof mountSpec> = async (context, given) => {
  const { env, settings } = context;
  const wish = wishOf(given);
  // Before anything is made: it may be refused.
  const values = { ...given, secured: await serveTlsOf(env.files, given, 'ferry mount') };
  await using repository = await repositoryOf(context);
  const snapshot = repository.resolve(wish.snapshot);
  const commitTo = wish.commit === '' ? snapshot.volume : wish.commit;
  if (commitTo !== undefined) checkVolumeName(commitTo);
  if (!values.rw) {
    const since = values.since === undefined ? undefined : repository.resolve(values.since);
    await using mounted = await mount(env, repository, snapshot, { since });
    await serveMounted(context, mounted, snapshot, values, '');
    context.output.summary({ state: 'stopped' }, `${snapshotName(snapshot)} is served no longer`);
    return;
  }
  const directory = layerDirectory(settings, repository, snapshot);
  await makeStateDirectory(env.files, dirname(directory));
  if (values.continue) await warnOfOthers(context, repository, snapshot);
  await using mounted = await mount(env, repository, snapshot, {
    layerDirectory: directory,
    goOn: values.continue,
  });
  await serveWritable(context, repository, mounted, { snapshot, commitTo, values });
};

type MountValues = Values<typeof mountSpec>;
type Wanted = MountValues & { readonly secured: ServeTlsOptions | undefined };

/** `--commit VOL@SNAP` at the end means `VOL@SNAP --commit`: nobody names both the same way. */
function wishOf(values: MountValues): { snapshot: string; commit: string | undefined } {
  const { snapshot, commit, rw } = values;
  const command = 'ferry mount';
  if (values.since !== undefined && rw) throw usageError('--since needs no --rw', command);
  if (commit !== undefined && !rw) throw usageError('--commit needs --rw', command);
  if (values.continue && !rw) throw usageError('--continue needs --rw', command);
  if (snapshot !== undefined) return { snapshot, commit };
  if (commit !== undefined && commit !== '') return { snapshot: commit, commit: '' };
  throw usageError("missing required argument 'VOL@SNAP'", command);
}

async function warnOfOthers(
  { env, output, settings }: Context,
  repository: Repository,
  snapshot: Snapshot,
): Promise<void> {
  for (const other of await otherLayers(env.files, settings, repository, snapshot)) {
    output.warn(`there are kept writes of ${snapshotName(other)} as well; they are left alone`);
  }
}

async function serveMounted(
  context: Context,
  { device, continued }: Mount,
  snapshot: Snapshot,
  { listen, rw, secured }: Wanted,
  note: string,
): Promise<void> {
  const description = `${snapshotName(snapshot)} of ${formatTime(snapshot.time)}`;
  await serveUntilStopped(context, {
    exports: [{ device, name: snapshot.volume, description }],
    readOnly: !rw,
    listen,
    tls: secured,
    fields: { id: snapshot.id, volume: snapshot.volume, continued },
    note: continued ? `${note}, going on with the writes of an earlier mount` : note,
  });
}

type Writable = {
  readonly snapshot: Snapshot;
  /** The volume that gets the snapshots; undefined if none are to be made. */
  readonly commitTo: string | undefined;
  readonly values: Wanted;
};

async function serveWritable(
  context: Context,
  repository: Repository,
  mounted: Mount,
  { snapshot, commitTo, values }: Writable,
): Promise<void> {
  const { output } = context;
  const { compression } = values;
  const target = { volume: commitTo ?? snapshot.volume, compression };
  const commit = () => commitOnce(context, repository, mounted, target);
  let asked: Promise<void> = Promise.resolve();
  using _listener = context.onCommitSignal(() => {
    if (commitTo === undefined) output.warn('SIGUSR2 commits only with --commit');
    else {
      asked = asked.then(async () => {
        if (!mounted.isCommitted) await commitMeanwhile(context, commit);
        else output.detail('SIGUSR2: nothing was written since the last commit');
      });
    }
  });
  const note = commitTo === undefined ? '' : `, kept as a snapshot of ${commitTo} at the end`;
  await serveMounted(context, mounted, snapshot, values, note);
  await asked;
  await mounted.device.flush();
  const changedBytes = mounted.changedBytes();
  if (changedBytes === 0) {
    await mounted.discard();
    output.summary({ state: 'stopped', changedBytes }, 'nothing was written: nothing is kept');
  } else if (commitTo === undefined) {
    output.summary(
      { state: 'stopped', changedBytes, layerKept: true },
      `${formatSize(changedBytes)} of changes are kept; go on with them:\n` +
        `  ferry mount ${snapshotName(snapshot)} --rw --continue`,
    );
  } else if (mounted.isCommitted) {
    await mounted.discard();
    output.summary(
      { state: 'stopped', changedBytes, layerKept: false },
      'all that was written has been committed already',
    );
  } else {
    const made = await commit();
    await mounted.discard();
    output.summary(
      { state: 'stopped', changedBytes, layerKept: false, ...snapshotFields(made) },
      textOf(made),
    );
  }
}

/** A commit that fails must not take the clients' device away. */
async function commitMeanwhile(
  { output }: Context,
  commit: () => Promise<Snapshot>,
): Promise<void> {
  try {
    const made = await commit();
    output.item('status', { state: 'committed', ...snapshotFields(made) }, textOf(made));
  } catch (error) {
    const reason = messageOf(error);
    output.warn(`not committed, still serving: ${reason}`);
  }
}

async function commitOnce(
  { env }: Context,
  repository: Repository,
  mounted: Mount,
  { volume, compression }: Pick<BackupRequest, 'volume' | 'compression'>,
): Promise<Snapshot> {
  const { backup } = await import('../../transfer/backup/index.ts'); // Most mounts commit nothing.
  const result = await mounted.commit((device, since) =>
    backup(env, repository, device, {
      volume,
      compression,
      origin: repository.latest(volume)?.origin ?? since.parent.origin,
      changeSource: 'overlay',
      since,
    }),
  );
  return result.snapshot;
}

function textOf(snapshot: Snapshot): string {
  const { changedBytes, storedBytes } = snapshot;
  return (
    `committed ${snapshotName(snapshot)}: ` +
    `${formatSize(changedBytes)} changed, ${formatSize(storedBytes)} stored`
  );
}
