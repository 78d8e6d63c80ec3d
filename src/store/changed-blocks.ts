/**
 * Which blocks of a snapshot hold data, or differ from another snapshot: as a stream, or in pages
 * that can be resumed. The shape is that of the EBS direct APIs (ListSnapshotBlocks,
 * ListChangedBlocks) and of Kubernetes' GetMetadataAllocated and GetMetadataDelta.
 */
import { crc32, isHex, sha256, toHex } from '../core/index.ts';
import { diffTrees } from './diff.ts';
import { StoreError } from './errors.ts';
import type { Repository } from './repository.ts';
import { geometryOf, type Snapshot, treeOf } from './snapshot.ts';
import type { Tree } from './tree-reader.ts';

/** Kubernetes' BlockMetadataType: runs as they are, or blocks of one size. */
export type BlockForm =
  | { readonly kind: 'variable' }
  | { readonly kind: 'fixed'; readonly blockBytes: number };

export type BlockListing = {
  /** What is compared with; undefined: everything that holds data is listed. */
  readonly older: Snapshot | undefined;
  /** Where `older` is, if in another repository; its index must have been read. */
  readonly olderIn?: Pick<Repository, 'reader' | 'objects'> | undefined;
  readonly newer: Snapshot;
  readonly form: BlockForm;
};

/**
 * `kind` says what the newer one has there; a fixed block is `zero` if all of it has become zero.
 */
export type ChangedBlock = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: 'data' | 'zero';
};

export type PageRequest = BlockListing & {
  /** Where the first page begins; ignored with a token, which knows its own place. */
  readonly startingOffsetBytes?: number;
  readonly maxResults?: number;
  /** Of the page before. */
  readonly nextToken?: string | undefined;
};

export type BlockPage = {
  readonly blocks: readonly ChangedBlock[];
  /** There if more follows. Holds no state of ours: it may be used again, and at any time. */
  readonly nextToken: string | undefined;
  readonly volumeSizeBytes: number;
  /** 0 if the blocks have their own lengths. */
  readonly blockBytes: number;
};

/** A page in memory, about 100 bytes each; as EBS. */
export const PAGE_RESULTS_MAX = 10_000;
export const PAGE_RESULTS_DEFAULT = 1000;
const FIXED_BLOCK_BYTES_MIN = 4096;
const FIXED_BLOCK_BYTES_MAX = 2 ** 30;

/**
 * Ascending, from the block that `fromBytes` is in. Reads manifests only, and of those only what
 * differs; `variable` ones are cut at `fromBytes`.
 */
export async function* changedBlocks(
  { reader, objects }: Pick<Repository, 'reader' | 'objects'>,
  { older, olderIn, newer, form }: BlockListing,
  fromBytes = 0,
): AsyncGenerator<ChangedBlock> {
  const tree = treeOf(newer);
  const empty: Tree = { geometry: geometryOf(newer), root: undefined };
  const before = older === undefined ? empty : treeOf(older);
  const other = olderIn && {
    reader: olderIn.reader,
    hasSameIds: [objects, olderIn.objects].every(({ sealer }) => !sealer.chunkSigning),
  };
  if (fromBytes >= newer.sizeBytes) return;
  if (form.kind === 'fixed') {
    checkBlockBytes(form.blockBytes);
    const start = Math.floor(fromBytes / form.blockBytes) * form.blockBytes;
    const extents = diffTrees(reader, before, tree, start, other);
    yield* fixed(extents, form.blockBytes, newer.sizeBytes, start);
    return;
  }
  for await (const extent of diffTrees(reader, before, tree, fromBytes, other)) {
    const offsetBytes = Math.max(fromBytes, extent.offsetBytes);
    const lengthBytes = extent.offsetBytes + extent.lengthBytes - offsetBytes;
    yield { offsetBytes, lengthBytes, kind: extent.kind };
  }
}

type HeldBlock = { readonly index: number; zeroBytes: number };

/** Whole blocks that any of the extents touches; one at a time is held back. */
async function* fixed(
  extents: AsyncIterable<ChangedBlock>,
  blockBytes: number,
  sizeBytes: number,
  fromBytes: number,
): AsyncGenerator<ChangedBlock> {
  const block = ({ index, zeroBytes }: HeldBlock): ChangedBlock => {
    const offsetBytes = index * blockBytes;
    const lengthBytes = Math.min(blockBytes, sizeBytes - offsetBytes);
    return { offsetBytes, lengthBytes, kind: zeroBytes === lengthBytes ? 'zero' : 'data' };
  };
  let held: HeldBlock | undefined;
  for await (const { offsetBytes, lengthBytes, kind } of extents) {
    const end = offsetBytes + lengthBytes;
    const start = Math.max(fromBytes, offsetBytes);
    for (let index = Math.floor(start / blockBytes); index * blockBytes < end; index++) {
      if (held?.index !== index) {
        if (held !== undefined) yield block(held);
        held = { index, zeroBytes: 0 };
      }
      if (kind === 'data') continue;
      const from = Math.max(start, index * blockBytes);
      held.zeroBytes += Math.min(end, (index + 1) * blockBytes) - from;
    }
  }
  if (held !== undefined) yield block(held);
}

/** STORE_PAGE_TOKEN if the token is damaged or was made for another listing. */
export async function pageOfBlocks(
  repository: Pick<Repository, 'reader' | 'objects' | 'superblock'>,
  request: PageRequest,
): Promise<BlockPage> {
  const { newer, form, maxResults = PAGE_RESULTS_DEFAULT } = request;
  if (!Number.isSafeInteger(maxResults) || maxResults < 1 || maxResults > PAGE_RESULTS_MAX) {
    throw limitError(`a page has 1 to ${PAGE_RESULTS_MAX} blocks, not ${maxResults}`);
  }
  const binding = bindingOf(repository, request);
  const from =
    request.nextToken === undefined
      ? (request.startingOffsetBytes ?? 0)
      : readToken(request.nextToken, binding);
  if (!Number.isSafeInteger(from) || from < 0) throw limitError(`${from} is no offset`);
  const blocks: ChangedBlock[] = [];
  let nextToken: string | undefined;
  for await (const block of changedBlocks(repository, request, from)) {
    if (blocks.length === maxResults) {
      nextToken = makeToken(block.offsetBytes, binding);
      break;
    }
    blocks.push(block);
  }
  const blockBytes = form.kind === 'fixed' ? form.blockBytes : 0;
  return { blocks, nextToken, volumeSizeBytes: newer.sizeBytes, blockBytes };
}

function checkBlockBytes(blockBytes: number): void {
  const isPower = Number.isSafeInteger(blockBytes) && Number.isInteger(Math.log2(blockBytes));
  const isInside = blockBytes >= FIXED_BLOCK_BYTES_MIN && blockBytes <= FIXED_BLOCK_BYTES_MAX;
  if (isPower && isInside) return;
  throw limitError(`blocks of ${blockBytes} bytes: a power of two from 4 KiB to 1 GiB is needed`);
}

function limitError(what: string): StoreError {
  return new StoreError('STORE_LIMIT', what, { hint: 'See docs/using/changed-blocks.md.' });
}

/** What a token holds for: repository, both snapshots, and the form; 16 hexadecimal digits. */
function bindingOf(
  { superblock }: Pick<Repository, 'superblock'>,
  { older, newer, form }: BlockListing,
): string {
  const shape = form.kind === 'fixed' ? form.blockBytes : 0;
  const parts = [superblock.repositoryId, older?.id ?? '', newer.id, shape].join('/');
  return toHex(sha256(new TextEncoder().encode(parts)).subarray(0, 8));
}

const TOKEN_VERSION = '1';
const BINDING_HEX = 16;

/** Version, offset, binding, checksum: `1.1a0000.0123456789abcdef.89abcdef`. */
function makeToken(offsetBytes: number, binding: string): string {
  const text = `${TOKEN_VERSION}.${offsetBytes.toString(16)}.${binding}`;
  return `${text}.${checksumOf(text)}`;
}

function readToken(token: string, binding: string): number {
  const [version, offset = '', bound = '', checksum, ...rest] = token.split('.');
  const text = `${version}.${offset}.${bound}`;
  const isWhole =
    rest.length === 0 && checksum === checksumOf(text) && isHex(bound, BINDING_HEX / 2);
  if (!isWhole || version !== TOKEN_VERSION) throw tokenError('it is damaged');
  if (bound !== binding) throw tokenError('it is of another listing');
  return Number.parseInt(offset, 16);
}

function checksumOf(text: string): string {
  return crc32(new TextEncoder().encode(text)).toString(16).padStart(8, '0');
}

function tokenError(what: string): StoreError {
  return new StoreError('STORE_PAGE_TOKEN', `the page token cannot be used: ${what}`, {
    hint: 'Use it with the command that it came from, unchanged, or begin without one.',
  });
}
