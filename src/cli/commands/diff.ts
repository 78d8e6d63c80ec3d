/** `ferry diff`: the extents in which one snapshot differs from another. */
import { diffTrees, treeOf } from '../../store/index.ts';
import { repositoryOf, snapshotName } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { diffSpec } from '../table/repository.ts';

/** Wide enough for offsets of 2^53. */
const OFFSET_COLUMNS = 16;
const SIZE_COLUMNS = 10;

export const run: Run<typeof diffSpec> = async (context, values) => {
  const { output, signal } = context;
  await using repository = await repositoryOf(context);
  const older = repository.resolve(values.older);
  const newer = repository.resolve(values.newer);
  await repository.index();
  const changedBytes = { data: 0, zero: 0 };
  let extents = 0;
  for await (const extent of diffTrees(repository.reader, treeOf(older), treeOf(newer))) {
    signal.throwIfAborted();
    const { offsetBytes, lengthBytes, kind } = extent;
    if (extents === 0) output.text(row('OFFSET', 'LENGTH', 'NOW'));
    output.item('extent', extent, row(String(offsetBytes), formatSize(lengthBytes), kind));
    changedBytes[kind] += lengthBytes;
    extents++;
  }
  const { data, zero } = changedBytes;
  const grownBytes = newer.sizeBytes - older.sizeBytes;
  output.summary(
    {
      older: older.id,
      newer: newer.id,
      extents,
      changedBytes: data + zero,
      dataBytes: data,
      zeroBytes: zero,
      sizeBytes: newer.sizeBytes,
      grownBytes,
    },
    [
      `${extents} ${extents === 1 ? 'extent' : 'extents'}, ${formatSize(data + zero)} of `,
      `${formatSize(newer.sizeBytes)} changed from ${snapshotName(older)} to `,
      `${snapshotName(newer)}: ${formatSize(data)} data, ${formatSize(zero)} zero`,
      grownBytes === 0 ? '' : `; the volume ${growth(grownBytes)}`,
    ].join(''),
  );
};

function row(offset: string, size: string, kind: string): string {
  return `${offset.padStart(OFFSET_COLUMNS)}  ${size.padStart(SIZE_COLUMNS)}  ${kind}`;
}

function growth(bytes: number): string {
  return bytes > 0 ? `grew by ${formatSize(bytes)}` : `shrank by ${formatSize(-bytes)}`;
}
