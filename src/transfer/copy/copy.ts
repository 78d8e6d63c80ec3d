/** Copies snapshots from one repository to another, oldest first. */
import { worthThreads } from '../../codec/index.ts';
import { type Env, hasCode } from '../../core/index.ts';
import { originalId, type Repository, type Snapshot } from '../../store/index.ts';
import { checkInterrupted } from '../errors.ts';
import {
  type CopyPlaces,
  type CopySettings,
  copySnapshot,
  type SnapshotCopy,
  SourceDamage,
} from './copy-snapshot.ts';
import { History } from './history.ts';

export type CopyRequest = CopySettings & {
  /** Called as each is done. */
  readonly onCopied?: (copy: SnapshotCopy) => void;
  readonly onRefused?: (refusal: Refusal) => void;
};

/** A snapshot that was not copied: it is damaged, or was forgotten meanwhile. */
export type Refusal = {
  readonly snapshot: Snapshot;
  readonly reason: 'damaged' | 'forgotten';
  readonly error: unknown;
};

export type CopyReport = {
  readonly copied: readonly SnapshotCopy[];
  readonly refused: readonly Refusal[];
  /** How many another run had copied by the time that it was their turn. */
  readonly presentCount: number;
};

/**
 * A snapshot that is damaged in the source is refused, and the others are copied. Whatever was
 * stored when a run ends early is taken up by the next one.
 */
export async function copy(
  env: Env,
  source: Repository,
  destination: Repository,
  snapshots: readonly Snapshot[],
  request: CopyRequest,
): Promise<CopyReport> {
  source.checkReadable('what is to be copied');
  const copied: SnapshotCopy[] = [];
  const refused: Refusal[] = [];
  let presentCount = 0;
  const histories = new Map<string, History>();
  for (const snapshot of snapshots) {
    checkInterrupted(request.signal);
    const { volume } = snapshot;
    const history = histories.get(volume) ?? new History(source, destination, volume);
    histories.set(volume, history);
    const places = { source, destination, history };
    const done = await copyOrRefuse(env, places, snapshot, request);
    if (done === 'present') presentCount++;
    else if ('copy' in done) {
      history.add(done.copy);
      // What the next one needs comes on top of it otherwise, as do those after it.
      if (worthThreads(done.readBytes)) env.workers.reclaim?.();
      copied.push(done);
      request.onCopied?.(done);
    } else {
      refused.push(done);
      request.onRefused?.(done);
    }
  }
  return { copied, refused, presentCount };
}

async function copyOrRefuse(
  env: Env,
  places: CopyPlaces,
  snapshot: Snapshot,
  request: CopyRequest,
): Promise<SnapshotCopy | Refusal | 'present'> {
  const { source, destination } = places;
  await destination.refresh();
  if (isThere(destination, snapshot)) return 'present';
  for (let { history } = places; ; ) {
    try {
      const now = { ...places, history };
      const done = await copySnapshot(env, now, snapshot, request);
      if (!(done instanceof SourceDamage)) return done;
      return { snapshot, reason: 'damaged', error: done.error };
    } catch (error) {
      if (hasCode(error, 'STORE_COPY_EXISTS')) return 'present';
      // Beside a run that removes snapshots there may be fewer of them by now.
      if (!hasCode(error, 'STORE_SNAPSHOT_GONE')) throw error;
      const { snapshots } = source.log.state;
      if (!snapshots.has(snapshot.id)) return { snapshot, reason: 'forgotten', error };
      const left = new History(source, destination, snapshot.volume);
      // Each turn needs one more to be gone, so there is an end.
      if (left.own.length >= history.own.length) throw error;
      history = left;
    }
  }
}

function isThere(destination: Repository, snapshot: Snapshot): boolean {
  const id = originalId(snapshot);
  return destination.snapshots(snapshot.volume).some((each) => originalId(each) === id);
}
