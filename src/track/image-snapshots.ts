/** Two snapshots inside one qcow2 image: where their tables differ, the guest has written. */
import { type Extent, equalBytes, FerryError, fromHex, sha256, toHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  differingClusters,
  type Qcow2Header,
  type Qcow2Map,
  type Qcow2Snapshot,
  readQcow2Header,
  readQcow2Map,
  readQcow2Snapshots,
} from '../fs/index.ts';
import { type ChangeAnswer, type ChangeSource, cannotSay, type Finish } from './change-source.ts';
import type { SourceMemory } from './source-memory.ts';

/** What tells one snapshot of an image from another; QEMU gives ids and names again. */
export type ImageSnapshotMemory = {
  readonly identity: string;
  readonly id: string;
  readonly name: string;
  readonly time: string;
  /** Of its first table, which is never written again while the snapshot is there. */
  readonly table: string;
};

export function parseImageSnapshotMemory(value: unknown): ImageSnapshotMemory | undefined {
  const { identity, id, name, time, table } = Object(value);
  const words = [identity, id, name, time, table];
  if (!words.every((word) => typeof word === 'string')) return undefined;
  return fromHex(table, 32) === undefined ? undefined : { identity, id, name, time, table };
}

export type ImageSnapshotsOptions = {
  /** The image itself, not what its guest sees; borrowed. */
  readonly file: Device;
  readonly identity: string;
  /** The one that is backed up, by name or id. */
  readonly snapshot: string;
  readonly memory: SourceMemory<ImageSnapshotMemory>;
};

/** FS_NOT_FOUND is answered with undefined: the caller knows what was asked for. */
export function findImageSnapshot(
  snapshots: readonly Qcow2Snapshot[],
  wanted: string,
): Qcow2Snapshot | undefined {
  const byName = snapshots.filter(({ name }) => name === wanted);
  // Several of one name are told apart by their ids only.
  return byName.length === 1 ? byName[0] : snapshots.find(({ id }) => id === wanted);
}

export function imageSnapshotsSource(options: ImageSnapshotsOptions): ChangeSource {
  return {
    name: 'snapshot',
    async changes({ since }) {
      const { file, snapshot, memory } = options;
      try {
        const header = await readQcow2Header(file);
        const snapshots = await readQcow2Snapshots(file, header);
        const now = findImageSnapshot(snapshots, snapshot);
        if (now === undefined) {
          return cannotSay('snapshot', 'absent', `${file.name} has no snapshot ${snapshot}`);
        }
        const map = await readQcow2Map(file, header, now.table);
        const value = memoryOf(options, now, map);
        const finish: Finish = async (outcome) => {
          if (outcome.kind === 'committed') await memory.remember(outcome.snapshot, value);
        };
        const kept = await memory.recall(since);
        if ('reason' in kept) return cannotSay('snapshot', kept.reason, kept.why, { finish });
        return await compare(options, { header, snapshots, now, map }, kept.value, finish);
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        return cannotSay('snapshot', 'lost', error.message);
      }
    },
  };
}

type Image = {
  readonly header: Qcow2Header;
  readonly snapshots: readonly Qcow2Snapshot[];
  readonly now: Qcow2Snapshot;
  /** Of `now`. */
  readonly map: Qcow2Map;
};

async function compare(
  options: ImageSnapshotsOptions,
  { header, snapshots, now, map }: Image,
  before: ImageSnapshotMemory,
  finish: Finish,
): Promise<ChangeAnswer> {
  const { file, identity } = options;
  const what = `snapshot ${before.name} of ${file.name}`;
  if (before.identity !== identity) {
    const why = `${file.name} is another image than the last time, or has another backing file`;
    return cannotSay('snapshot', 'replaced', why, { finish });
  }
  const old = snapshots.find(({ id, name }) => id === before.id && name === before.name);
  if (old === undefined) return cannotSay('snapshot', 'lost', `${what} is gone`, { finish });
  const older = await readQcow2Map(file, header, old.table);
  const is = memoryOf(options, old, older);
  const isSame =
    is.time === before.time && equalBytes(fromHex(is.table, 32)!, fromHex(before.table, 32)!);
  if (!isSame) {
    return cannotSay('snapshot', 'replaced', `${what} was made anew`, { finish });
  }
  if (old.table.sizeBytes !== now.table.sizeBytes) {
    const why = `${what} has ${old.table.sizeBytes} bytes, ${now.name} ${now.table.sizeBytes}`;
    return cannotSay('snapshot', 'resized', why, { finish });
  }
  const changed: Extent[] = await Array.fromAsync(differingClusters(older, map));
  return {
    kind: 'changes',
    source: 'snapshot',
    precision: 'superset',
    changed,
    reason: `clusters in which ${now.name} differs from ${old.name} in ${file.name}`,
    finish,
  };
}

function memoryOf(
  { identity }: ImageSnapshotsOptions,
  { id, name, seconds, nanoseconds }: Qcow2Snapshot,
  { firstTable }: Qcow2Map,
): ImageSnapshotMemory {
  const time = `${seconds}.${nanoseconds}`;
  return { identity, id, name, time, table: toHex(sha256(firstTable)) };
}
