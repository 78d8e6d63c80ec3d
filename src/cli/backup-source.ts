/** What `ferry backup` reads: a source, or a volume that is being exported. */
import { resolve } from 'node:path';
import { type Env, FerryError } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { ntfsPlaces } from '../fs/index.ts';
import type { Repository } from '../store/index.ts';
import {
  bitmapContext,
  type ChangeChoice,
  type ChangeSource,
  checksumSource,
  ext4Places,
  fullSource,
  type Identity,
  stoppedTrackerSource,
} from '../track/index.ts';
import { readUnitBytes } from '../transfer/backup/index.ts';
import {
  exportOfFile,
  exportOfVolume,
  identityOf,
  onlyMoments,
  type RunningExport,
  runningExportSource,
  trackerDirectory,
} from '../transfer/export/index.ts';
import {
  type DiskFormat,
  defaultVolumeName,
  isPath,
  openDisk,
  originOf,
} from '../transfer/index.ts';
import type { Context } from './context.ts';
import { type Asked, otherSources } from './other-sources.ts';
import { isQmpUri, openQemuSource } from './qemu-source.ts';

export type BackupSourceOptions = {
  readonly format: DiskFormat;
  readonly bitmap: string | undefined;
  readonly imageSnapshot: string | undefined;
  readonly rbdDiff: string | undefined;
  readonly thinDelta?: string | undefined;
  readonly changes?: ChangeChoice;
  readonly keepClone?: boolean;
};

export interface BackupSource extends AsyncDisposable {
  readonly device: Device;
  /** Unless a person names another. */
  readonly volume: string;
  readonly origin: string;
  /** Through which it is read, if it is being exported. */
  readonly running: RunningExport | undefined;
  /** Who may know what changed. */
  changeSources(repository: Repository, volume: string): ChangeSource[];
  /** What a person should know about how it is taken. */
  readonly warning: string | undefined;
  /** What the file is now: to see whether it changed while it was read. */
  identify(): Promise<Identity | undefined>;
}

/** A bare word that is no file here may be a volume whose export runs. */
export async function openBackupSource(
  context: Context,
  source: string,
  options: BackupSourceOptions,
): Promise<BackupSource> {
  if (isQmpUri(source)) return openQemuSource(context, source);
  const { format, bitmap, imageSnapshot: snapshot, changes, keepClone = false } = options;
  const { env, settings } = context;
  const stateDirectory = resolve(settings.stateDirectory);
  const hasPath = isPath(source);
  const path = hasPath ? resolve(source) : undefined;
  const identify = () => identityOf(env, path);
  const running = hasPath ? await runningOf(context, source) : undefined;
  const contexts = bitmap === undefined ? [] : [bitmapContext(bitmap)];
  const disk =
    running === undefined ? await openDisk(env, source, { format, contexts, snapshot }) : undefined;
  const device = disk?.device ?? onlyMoments(running!);
  const journals = disk && (await journalsOf(disk.device, changes));
  return {
    device,
    volume: running?.volume ?? defaultVolumeName(source),
    origin: running?.origin ?? originOf(source),
    running,
    identify,
    changeSources(repository, volume) {
      const consumer = `repository:${repository.superblock.repositoryId}:${volume}`;
      const always: ChangeSource[] = [checksumSource(), fullSource()];
      if (disk !== undefined) {
        const rawFile = disk.isRawFile ? path : undefined;
        const { rbdDiff, thinDelta } = options;
        const named = { volume, disk, bitmap, snapshot, rbdDiff, thinDelta };
        const asked = { ...named, keepsClone: keepClone, rawFile, journals };
        always.push(...otherSources(context, repository, asked));
      }
      if (running !== undefined) {
        const alignBytes = readUnitBytes(repository);
        return [runningExportSource(env, { running, consumer, alignBytes }), ...always];
      }
      if (path === undefined || disk?.image !== undefined) return always;
      const directory = trackerDirectory(stateDirectory, volume);
      const { sizeBytes } = device;
      const flush = () => syncFile(env, path);
      const stopped = { directory, volume, sizeBytes, identify, consumer, flush };
      return [stoppedTrackerSource(env, stopped), ...always];
    },
    warning: disk?.warning,
    [Symbol.asyncDispose]: () => (disk ?? device)[Symbol.asyncDispose](),
  };
}

/** Which journals are asked, if only to watch: where there may be one, and where it was chosen. */
async function journalsOf(
  device: Device,
  changes: ChangeChoice | undefined,
): Promise<Asked['journals']> {
  const isChosen = changes === 'journal';
  const hasNtfs = await hasPlaces(ntfsPlaces, device);
  const hasExt4 = await hasPlaces(ext4Places, device);
  return {
    isChosen,
    ext4: hasExt4 || (isChosen && !hasNtfs),
    ntfs: hasNtfs ? await import('../track/ntfs/index.ts') : undefined,
  };
}

async function hasPlaces(
  places: (device: Device) => Promise<readonly unknown[]>,
  device: Device,
): Promise<boolean> {
  try {
    return (await places(device)).length > 0;
  } catch (error) {
    if (error instanceof FerryError) return false; // A damaged table, a sector: it is no help.
    throw error;
  }
}

/** Whoever wrote the file may have been killed, and the power may go before it is on disk. */
async function syncFile({ files }: Env, path: string): Promise<void> {
  const file = await files.open(path, 'read');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The running export of a volume, or of its file. */
export async function runningOf(
  { env, settings }: Context,
  source: string,
): Promise<RunningExport | undefined> {
  const stateDirectory = resolve(settings.stateDirectory);
  const found = await identityOf(env, resolve(source));
  if (found !== undefined) return exportOfFile(env, stateDirectory, found);
  return source.includes('/') ? undefined : exportOfVolume(env, stateDirectory, source);
}
