/** Chooses what to copy: what is named, or what is newer than everything that is there already. */
import type { Repository, Snapshot } from '../../store/index.ts';
import { TransferError } from '../errors.ts';
import { History } from './history.ts';

export type Selection = {
  /** Oldest first. */
  readonly wanted: readonly Snapshot[];
  /** How many of those that were meant are there already. */
  readonly presentCount: number;
  /** Not there, but older than one that is, and not asked for by name: retention removed them. */
  readonly older: readonly Snapshot[];
  /** Wanted although older than one that is there: they will be the newest there. */
  readonly late: readonly Snapshot[];
};

/**
 * `names` are `VOL` or `VOL@SNAP`; without any, everything is meant. TRANSFER_SAME_REPOSITORY,
 * TRANSFER_VOLUME_TAKEN, and what `Repository.resolve` says.
 */
export function select(
  source: Repository,
  destination: Repository,
  names: readonly string[],
): Selection {
  checkDistinct(source, destination);
  const { volumes, single } = meant(source, names);
  const wanted = new Set<Snapshot>();
  const older: Snapshot[] = [];
  const late: Snapshot[] = [];
  let presentCount = 0;
  const all = new Set([...volumes, ...[...single].map(({ volume }) => volume)]);
  for (const volume of all) {
    const history = new History(source, destination, volume);
    const { newestThere } = history;
    for (const [at, snapshot] of history.own.entries()) {
      const isNamed = single.has(snapshot);
      if (!isNamed && !volumes.has(volume)) continue;
      if (history.copyOf(snapshot) !== undefined) presentCount++;
      else if (at > newestThere || isNamed) wanted.add(snapshot);
      else older.push(snapshot);
      if (wanted.has(snapshot) && at < newestThere) late.push(snapshot);
    }
    const any = history.own.find((snapshot) => wanted.has(snapshot));
    if (any !== undefined && !history.isSameVolume) throw taken(any, destination);
  }
  const ordered = source.snapshots().filter((snapshot) => wanted.has(snapshot));
  return { wanted: ordered, presentCount, older, late };
}

function meant(source: Repository, names: readonly string[]) {
  const volumes = new Set<string>();
  const single = new Set<Snapshot>();
  for (const name of names) {
    const snapshot = source.resolve(name);
    if (name.includes('@')) single.add(snapshot);
    else volumes.add(snapshot.volume);
  }
  if (names.length === 0) for (const { volume } of source.snapshots()) volumes.add(volume);
  return { volumes, single };
}

/** A mirror that was made by copying files is the same repository in another place. */
function checkDistinct(source: Repository, destination: Repository): void {
  if (source.superblock.repositoryId !== destination.superblock.repositoryId) return;
  const places = [source.objects.name, destination.objects.name];
  const message =
    places[0] === places[1]
      ? `${places[0]} is both what to copy from and what to copy to`
      : `${places[0]} and ${places[1]} are one repository, in two places`;
  throw new TransferError('TRANSFER_SAME_REPOSITORY', message, {
    hint: 'Make another one with `ferry init`; a mirror of files is kept by tools like rsync.',
  });
}

function taken({ volume }: Snapshot, destination: Repository): TransferError {
  const message = `the volume ${volume} of ${destination.objects.name} belongs to another source`;
  return new TransferError('TRANSFER_VOLUME_TAKEN', message, {
    hint: `Name the other volumes to leave ${volume} out, or copy it to a repository of its own.`,
  });
}
