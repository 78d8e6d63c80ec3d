/** `ferry show`: everything that the log says of one snapshot. */
import { formatTime, repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import { formatSize, formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { showSpec } from '../table/repository.ts';

export const run: Run<typeof showSpec> = async (context, values) => {
  const { output } = context;
  await using repository = await repositoryOf(context);
  const snapshot = repository.resolve(values.snapshot);
  const { parent, digest, chunkBytes, readBytes, unreadable } = snapshot;
  const rows: (readonly [string, string])[] = [
    ['snapshot', snapshotName(snapshot)],
    ['id', snapshot.id],
    ['time', formatTime(snapshot.time)],
    ['size', `${formatSize(snapshot.sizeBytes)} (${snapshot.sizeBytes} bytes)`],
    ['chunks', formatSizeExact(chunkBytes)],
    ['parent', parent === undefined ? 'none' : nameOf(parent)],
    ['source', snapshot.source],
    ['read', formatSize(readBytes)],
    ['changed', formatSize(snapshot.changedBytes)],
    ['stored', formatSize(snapshot.storedBytes)],
    ['digest', digest],
    ['tags', snapshot.tags.length === 0 ? 'none' : snapshot.tags.join(' ')],
    ...(snapshot.copyOf === undefined ? [] : [['copy of', snapshot.copyOf] as const]),
    ['held', snapshot.held ? 'yes: nothing forgets it' : 'no'],
    ...unreadable.map(
      ({ offsetBytes, lengthBytes }) =>
        ['unreadable', `${formatSize(lengthBytes)} at byte ${offsetBytes}: zeroes here`] as const,
    ),
  ];
  const text = rows.map(([key, value]) => `${key.padEnd(10)}  ${value}`).join('\n');
  const fields = { parent: parent ?? null, digest, chunkBytes, readBytes, unreadable };
  output.item('summary', { ...snapshotFields(snapshot), ...fields }, text);

  function nameOf(id: string): string {
    const found = repository.snapshots().find((each) => each.id === id);
    return found === undefined ? `${id.slice(0, 8)} (not here any more)` : snapshotName(found);
  }
};
