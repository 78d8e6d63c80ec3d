/** `ferry replicate --reverse`: brings a promoted volume back to the machine that wrote it. */
import { resolve } from 'node:path';
import { type Extent, ExtentSet, hasCode, unlessMissing } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { connectProvider } from '../service/index.ts';
import { checkVolumeName } from '../store/index.ts';
import { Tracker, tracked } from '../track/index.ts';
import {
  exportOfFile,
  exportOfVolume,
  identityOf,
  trackerDirectory,
} from '../transfer/export/index.ts';
import { defaultVolumeName, isPath, openSource } from '../transfer/index.ts';
import {
  type Agent,
  bringBack,
  comparedSource,
  type EpochSource,
  Mandate,
  PRE_IMAGE_BYTES_MAX,
  type RemoteVolume,
  ReplicateError,
  TrackedSource,
} from '../transfer/replicate/index.ts';
import { authorityOf, digestOf } from './authority.ts';
import type { Context } from './context.ts';
import { nodeOf } from './node.ts';
import { snapshotName } from './repository.ts';
import { formatDuration, formatSize } from './sizes.ts';
import type { Values } from './spec.ts';
import type { replicateSpec } from './table/replication.ts';

/** Aside is kept nothing: nobody else writes. */
const ROOM_BYTES = 64 * 1024 * 1024;

export async function reverse(
  context: Context,
  values: Values<typeof replicateSpec>,
): Promise<void> {
  const { source, name, to, lane } = values;
  const { env, output } = context;
  const volume = name ?? defaultVolumeName(source);
  checkVolumeName(volume);
  await checkNotServed(context, volume, source);
  const startMs = env.clock.monotonicMs();
  await using base = await openSource(env, source, { readOnly: false });
  await using own = await ownOf(context, { volume, source, base });
  const authority = await authorityOf(context, volume);
  const node = await nodeOf(context, values);
  await using agent = await connectProvider(env, { ...to, ...node, lane });
  const mandate = new Mandate({ clock: env.clock, authority });
  const remote = await opened(agent, { volume, sizeBytes: base.sizeBytes, mandate });
  // Fences this side, if it did not know; what is only here goes there first.
  await mandate.opened(remote, own.source).catch((error: unknown) => {
    if (!hasCode(error, 'REPLICATE_FENCED') || !authority.mayBeOverwritten) throw error;
    output.detail((error as Error).message);
  });
  const progress = output.progress('bringing back', base.sizeBytes);
  const back = await bringBack(remote, {
    ...{ device: own.device, authority, own: await writtenHere(remote, own.source) },
    digestOf: () => digestOf(context, base),
    onProgress: ({ doneBytes }) => progress.update(doneBytes),
  });
  progress.finish();
  const { branch } = authority.standing;
  await own.settled({ replica: remote.replica, epoch: back.epoch });
  const tookMs = env.clock.monotonicMs() - startMs;
  const { snapshot, theirBytes, ownBytes, sameBytes, fetchedBytes } = back;
  const made = snapshotName({ volume, id: snapshot });
  output.summary(
    { volume, ...back, branch: branch ?? null, durationMs: Math.round(tookMs) },
    [
      `${volume} is here again, equal to ${made}, under authority ${back.authority}`,
      `  there    ${formatSize(theirBytes)} written since the promotion`,
      `  here     ${formatSize(ownBytes)} that may have been`,
      `  fetched  ${formatSize(fetchedBytes)}; ${formatSize(sameBytes)} were equal`,
      `  took     ${formatDuration(tookMs)}`,
    ].join('\n'),
  );
}

async function opened(
  agent: Agent,
  of: { readonly volume: string; readonly sizeBytes: number; readonly mandate: Mandate },
): Promise<RemoteVolume> {
  const remote = await agent.open(of.volume, of.sizeBytes, of.mandate.claim);
  if (remote.known.promotedEpoch !== undefined) return remote;
  throw new ReplicateError(
    'REPLICATE_NOT_PROMOTED',
    `${of.volume} is not written at the provider`,
    {
      hint: 'There is nothing to bring back: `ferry export --to` goes on as before.',
    },
  );
}

async function checkNotServed(
  { env, settings }: Context,
  volume: string,
  source: string,
): Promise<void> {
  const stateDirectory = resolve(settings.stateDirectory);
  const path = isPath(source) ? resolve(source) : undefined;
  const identity = await identityOf(env, path);
  const running =
    (await exportOfVolume(env, stateDirectory, volume)) ??
    (identity && (await exportOfFile(env, stateDirectory, identity)));
  if (running === undefined) return;
  throw new ReplicateError('REPLICATE_BUSY', `${volume} is being exported here`, {
    hint: 'Stop that export first: what its clients have read would not be true any more.',
  });
}

/** The volume as it is written here, and what is known of earlier writes. */
interface Own extends AsyncDisposable {
  readonly device: Device;
  readonly source: EpochSource;
  /** What is here now is that epoch of the replica. */
  settled(held: { replica: string; epoch: number }): Promise<void>;
}

async function ownOf(
  { env, settings }: Context,
  { volume, source, base }: { volume: string; source: string; base: Device },
): Promise<Own> {
  const directory = trackerDirectory(resolve(settings.stateDirectory), volume);
  const kept = (await unlessMissing(env.files.list(directory))) ?? [];
  if (kept.length === 0) {
    return {
      ...{ device: base, source: comparedSource(base, env.clock) },
      settled: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    };
  }
  const identify = () => identityOf(env, isPath(source) ? resolve(source) : undefined);
  const { sizeBytes } = base;
  const tracker = await Tracker.open(env, { directory, volume, sizeBytes, identify });
  const device = tracked({ base, tracker });
  const preImages = device.keepPreImages(PRE_IMAGE_BYTES_MAX);
  const epochs = new TrackedSource({
    ...{ device, volume, files: env.files, clock: env.clock, directory },
    ...{ roomBytesMax: ROOM_BYTES, number: 0, preImages },
  });
  return {
    ...{ device, source: epochs },
    async settled(held) {
      await using cut = await epochs.cut(held);
      await cut.acknowledged(held);
    },
    async [Symbol.asyncDispose]() {
      await base.flush();
      await tracker[Symbol.asyncDispose]();
    },
  };
}

/** Since the last epoch that both sides have. */
async function writtenHere(
  { replica, held, known }: RemoteVolume,
  source: EpochSource,
): Promise<Iterable<Extent> | 'all'> {
  const epoch = known.promotedEpoch!;
  const mark = held.epoch === epoch ? held.mark : undefined;
  await using cut = await source.cut({ replica, epoch, mark });
  if (cut === undefined) return [];
  return cut.changed === 'compare' ? 'all' : new ExtentSet(cut.changed);
}
