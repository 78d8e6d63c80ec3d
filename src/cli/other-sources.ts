/** The sources of changes that rest on what others keep: bitmaps of QEMU, clones of files. */
import { resolve } from 'node:path';
import { sha256, toHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import type { NbdDevice } from '../nbd/index.ts';
import type { Repository, Snapshot } from '../store/index.ts';
import {
  type ChangeSource,
  ext4JournalSource,
  imageSnapshotsSource,
  nbdBitmapSource,
  parseBitmapMemory,
  parseCloneMemory,
  parseImageSnapshotMemory,
  parseJournalMemory,
  qcow2BitmapSource,
  rbdDiffSource,
  SourceMemory,
  sharedExtentsSource,
  thinDeltaSource,
} from '../track/index.ts';
import type { Disk } from '../transfer/index.ts';
import type { Context } from './context.ts';
import { stateFolder } from './repository.ts';

export type Asked = {
  readonly volume: string;
  readonly disk: Disk;
  readonly bitmap: string | undefined;
  readonly rbdDiff: string | undefined;
  readonly thinDelta: string | undefined;
  /** Inside a qcow2 image. */
  readonly snapshot: string | undefined;
  /** The path of a regular file that is backed up as it is. */
  readonly rawFile: string | undefined;
  readonly keepsClone: boolean;
  /** Journals of file systems: believed if somebody chose them, else watched for another time. */
  readonly journals:
    | {
        readonly isChosen: boolean;
        readonly ext4: boolean;
        readonly ntfs: typeof import('../track/ntfs/index.ts') | undefined;
      }
    | undefined;
};

export function otherSources(
  context: Context,
  repository: Repository,
  asked: Asked,
): ChangeSource[] {
  const sources: ChangeSource[] = [];
  const { device, image } = asked.disk;
  const { bitmap, snapshot } = asked;
  if (image !== undefined && snapshot !== undefined) {
    const parse = parseImageSnapshotMemory;
    const memory = memoryOf(context, repository, asked.volume, 'image-snapshot', parse);
    sources.push(imageSnapshotsSource({ ...image, snapshot, memory }));
  } else if (image !== undefined) {
    const memory = memoryOf(context, repository, asked.volume, 'qcow2-bitmap', parseBitmapMemory);
    sources.push(qcow2BitmapSource({ ...image, bitmap, memory }));
  }
  if (bitmap !== undefined && isNbd(device)) sources.push(nbdBitmapSource({ device, bitmap }));
  if (asked.rawFile !== undefined) {
    const memory = memoryOf(context, repository, asked.volume, 'clone', parseCloneMemory);
    const path = resolve(asked.rawFile);
    sources.push(sharedExtentsSource({ env: context.env, path, memory, begins: asked.keepsClone }));
  }
  sources.push(...journalSources(context, repository, asked));
  if (asked.rbdDiff !== undefined) {
    sources.push(rbdDiffSource({ env: context.env, path: resolve(asked.rbdDiff) }));
  }
  if (asked.thinDelta !== undefined) {
    sources.push(thinDeltaSource({ env: context.env, path: resolve(asked.thinDelta) }));
  }
  return sources;
}

function journalSources(
  context: Context,
  repository: Repository,
  { volume, journals }: Asked,
): ChangeSource[] {
  if (journals === undefined) return [];
  const { isChosen, ext4, ntfs } = journals;
  const common = { open: (since: Snapshot) => repository.device(since), isChosen };
  const sources: ChangeSource[] = [];
  if (ext4) {
    const memory = memoryOf(context, repository, volume, 'journal', parseJournalMemory);
    sources.push(ext4JournalSource({ ...common, memory }));
  }
  if (ntfs !== undefined) {
    const memory = memoryOf(context, repository, volume, 'ntfs-journal', ntfs.parseNtfsMemory);
    sources.push(ntfs.ntfsJournalSource({ ...common, memory }));
  }
  return sources;
}

function isNbd(device: Device): device is NbdDevice {
  return 'contexts' in device;
}

/** What a source keeps lies in the state directory, by repository and volume. */
export function memoryOf<Value>(
  context: Context,
  { superblock }: Repository,
  volume: string,
  source: string,
  parse: (value: unknown) => Value | undefined,
): SourceMemory<Value> {
  // A hash: names may be longer than names of files may be.
  const name = toHex(sha256(new TextEncoder().encode(volume)).subarray(0, 16));
  const folder = stateFolder(context, `sources/${superblock.repositoryId}/${name}`);
  return new SourceMemory(context.env, folder, source, parse);
}
