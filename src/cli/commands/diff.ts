/** `ferry diff`: the extents in which one snapshot differs from another, or that one holds. */
import {
  type BlockForm,
  type BlockListing,
  type ChangedBlock,
  changedBlocks,
  pageOfBlocks,
  type Repository,
} from '../../store/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import type { Output } from '../output.ts';
import { repositoryAt, repositoryOf, snapshotName, unlockSecond } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run, Values } from '../spec.ts';
import type { diffSpec } from '../table/repository.ts';

/** Wide enough for offsets of 2^53. */
const OFFSET_COLUMNS = 16;
const SIZE_COLUMNS = 10;

export const run: Run<typeof diffSpec> = async (context, values) => {
  const { output } = context;
  checkValues(values);
  await using repository = await repositoryOf(context);
  await using other = values.from === undefined ? null : await otherOf(context, values.from);
  const listing = listingOf(repository, other ?? undefined, values);
  await repository.index();
  await other?.index();
  const rows = new Rows(output);
  const nextToken = await list(context, repository, listing, values, rows);
  const { older, newer, form } = listing;
  const { data, zero } = rows.bytes;
  const grownBytes = older === undefined ? 0 : newer.sizeBytes - older.sizeBytes;
  output.summary(
    {
      older: older?.id ?? null,
      newer: newer.id,
      extents: rows.count,
      changedBytes: data + zero,
      dataBytes: data,
      zeroBytes: zero,
      sizeBytes: newer.sizeBytes,
      grownBytes,
      ...(form.kind === 'fixed' && { blockBytes: form.blockBytes }),
      ...(values.maxResults !== undefined && { nextToken: nextToken ?? null }),
    },
    summaryText(listing, rows, grownBytes, nextToken),
  );
};

type DiffValues = Values<typeof diffSpec>;

function checkValues({ allocated, newer, from, nextToken, maxResults }: DiffValues): void {
  const command = 'ferry diff';
  if (allocated && newer !== undefined) {
    throw usageError('--allocated takes one snapshot', command);
  }
  if (allocated && from !== undefined) {
    throw usageError('--allocated compares with nothing: leave --from out', command);
  }
  if (!allocated && newer === undefined) {
    throw usageError("missing required argument 'VOL@B'", command);
  }
  if (nextToken !== undefined && maxResults === undefined) {
    throw usageError('--next-token needs --max-results', command);
  }
}

function otherOf(context: Context, location: string): Promise<Repository> {
  return repositoryAt(context, location, unlockSecond(context, location));
}

function listingOf(
  repository: Repository,
  olderIn: Repository | undefined,
  values: DiffValues,
): BlockListing {
  const { blockSize } = values;
  const first = (olderIn ?? repository).resolve(values.older);
  const form: BlockForm =
    blockSize === undefined ? { kind: 'variable' } : { kind: 'fixed', blockBytes: blockSize };
  if (values.newer === undefined) return { older: undefined, newer: first, form };
  return { older: first, olderIn, newer: repository.resolve(values.newer), form };
}

/** Answers the token of the next page, if one was asked for and more follows. */
async function list(
  { signal }: Context,
  repository: Repository,
  listing: BlockListing,
  { startingOffset, maxResults, nextToken }: DiffValues,
  rows: Rows,
): Promise<string | undefined> {
  if (maxResults !== undefined) {
    const startingOffsetBytes = startingOffset;
    const request = { ...listing, startingOffsetBytes, maxResults, nextToken };
    const page = await pageOfBlocks(repository, request);
    for (const block of page.blocks) rows.add(block);
    return page.nextToken;
  }
  for await (const block of changedBlocks(repository, listing, startingOffset)) {
    signal.throwIfAborted();
    rows.add(block);
  }
  return undefined;
}

class Rows {
  readonly bytes = { data: 0, zero: 0 };
  count = 0;
  readonly #output: Output;

  constructor(output: Output) {
    this.#output = output;
  }

  add(block: ChangedBlock): void {
    const { offsetBytes, lengthBytes, kind } = block;
    if (this.count === 0) this.#output.text(row('OFFSET', 'LENGTH', 'NOW'));
    this.#output.item('extent', block, row(String(offsetBytes), formatSize(lengthBytes), kind));
    this.bytes[kind] += lengthBytes;
    this.count++;
  }
}

function summaryText(
  { older, newer }: BlockListing,
  { count, bytes: { data, zero } }: Rows,
  grownBytes: number,
  nextToken: string | undefined,
): string {
  const size = formatSize(newer.sizeBytes);
  const what =
    older === undefined
      ? `of ${size} hold data in ${snapshotName(newer)}`
      : `of ${size} changed from ${snapshotName(older)} to ${snapshotName(newer)}`;
  return [
    `${count} ${count === 1 ? 'extent' : 'extents'}, ${formatSize(data + zero)} ${what}`,
    older === undefined ? '' : `: ${formatSize(data)} data, ${formatSize(zero)} zero`,
    grownBytes === 0 ? '' : `; the volume ${growth(grownBytes)}`,
    nextToken === undefined ? '' : `\nmore follows: --next-token ${nextToken}`,
  ].join('');
}

function row(offset: string, size: string, kind: string): string {
  return `${offset.padStart(OFFSET_COLUMNS)}  ${size.padStart(SIZE_COLUMNS)}  ${kind}`;
}

function growth(bytes: number): string {
  return bytes > 0 ? `grew by ${formatSize(bytes)}` : `shrank by ${formatSize(-bytes)}`;
}
