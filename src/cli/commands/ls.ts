/** `ferry ls`: the snapshots of a repository or of one volume, oldest first. */
import type { Snapshot } from '../../store/index.ts';
import { usageError } from '../errors.ts';
import { formatTime, repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { lsSpec } from '../table/repository.ts';
import { type Column, tableLines } from '../text-table.ts';

export const run: Run<typeof lsSpec> = async (context, { volume }) => {
  const { output } = context;
  await using repository = await repositoryOf(context);
  if (volume !== undefined) {
    const found = repository.resolve(volume);
    if (found.volume !== volume) {
      throw usageError(`${volume} names a snapshot, not a volume`, 'ferry show');
    }
  }
  const snapshots = repository.snapshots(volume);
  if (output.options.json) {
    output.items('snapshot', snapshots.values().map(snapshotFields));
  } else if (snapshots.length > 0) {
    output.lines(tableLines(columns, snapshots, cellsOf));
  }
  const volumes = new Set(snapshots.map((snapshot) => snapshot.volume)).size;
  const hint = 'no snapshots yet; make one with `ferry backup SOURCE`';
  output.summary({ snapshots: snapshots.length, volumes }, snapshots.length === 0 ? hint : '');
};

const columns: readonly Column[] = [
  { title: 'SNAPSHOT' },
  { title: 'TIME' },
  { title: 'SIZE', align: 'right' },
  { title: 'CHANGED', align: 'right' },
  { title: 'STORED', align: 'right' },
  { title: 'SOURCE' },
  { title: 'TAGS' },
];

function cellsOf(snapshot: Snapshot): string[] {
  return [
    snapshotName(snapshot),
    formatTime(snapshot.time),
    formatSize(snapshot.sizeBytes),
    formatSize(snapshot.changedBytes),
    formatSize(snapshot.storedBytes),
    snapshot.source,
    wordsOf(snapshot),
  ];
}

function wordsOf({ held, tags }: Snapshot): string {
  const words = tags.join(' ');
  return held ? `(held) ${words}`.trimEnd() : words;
}
