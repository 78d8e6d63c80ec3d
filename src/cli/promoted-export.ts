/** `ferry export replica:VOL`: serves a promoted volume, and keeps what is written to it. */
import { checkNotOffered, openPromoted, replicaFolder } from '../transfer/replicate/index.ts';
import type { Context } from './context.ts';
import { usageError } from './errors.ts';
import { replicasOf } from './replicas.ts';
import { repositoryOf, snapshotName } from './repository.ts';
import { serveUntilStopped } from './serving.ts';
import { formatSize } from './sizes.ts';
import type { Values } from './spec.ts';
import type { exportSpec } from './table/serving.ts';
import { serveTlsOf } from './tls-credentials.ts';

const PREFIX = 'replica:';

/** The volume, if a source names a promoted one. */
export function promotedVolume(source: string): string | undefined {
  return source.startsWith(PREFIX) ? source.slice(PREFIX.length) : undefined;
}

export async function exportPromoted(
  context: Context,
  volume: string,
  values: Values<typeof exportSpec>,
): Promise<void> {
  const { env, output } = context;
  const { readOnly, listen, to, threads, directIo, group } = values;
  if (to.length > 0 || threads > 1 || directIo || group !== undefined) {
    throw usageError(
      'a promoted volume takes no --to, --group, --threads or --direct-io',
      'ferry export',
    );
  }
  const tls = await serveTlsOf(env.files, values, 'ferry export');
  await using repository = await repositoryOf(context);
  const directory = `${replicasOf(context, repository).directory}/${replicaFolder(volume)}`;
  await using promoted = await openPromoted(env, { repository, directory, volume });
  const { device, snapshot, authority } = promoted;
  if (!readOnly) checkNotOffered(volume, authority);
  const name = values.name ?? volume;
  await serveUntilStopped(context, {
    ...{ readOnly, listen, tls },
    exports: [{ device, name, description: `${volume}, promoted, over ${snapshotName(snapshot)}` }],
    fields: { volume, authority: authority.authority, changedBytes: device.changedBytes() },
    note: `, ${formatSize(device.changedBytes())} written since`,
  });
  await device.flush();
  const changedBytes = device.changedBytes();
  const written = `${formatSize(changedBytes)} written since its promotion`;
  const text = `${volume} is served no longer; ${written}`;
  output.summary({ state: 'stopped', name, changedBytes }, text);
}
