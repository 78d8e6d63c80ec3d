/** Which blocks of a window the provider has, where the hashes of whole pieces do not tell. */
import { isZero } from '../../../codec/index.ts';
import {
  type Extent,
  equalBytes,
  hasCode,
  SHA256_BYTES,
  sha256,
  type Turns,
} from '../../../core/index.ts';
import type { Reference } from '../../../wire/index.ts';
import type { ReplicateError } from '../errors.ts';
import { BLOCK_BYTES, OFFER_BYTES } from '../limits.ts';
import type { RemoteVolume } from './remote-volume.ts';
import type { Piece, WindowMemory } from './window-memory.ts';
import type { Run } from './windows.ts';

export type KnownBlocks = {
  /** What is to be sent: what is left of each piece. */
  readonly pieces: readonly Piece[];
  /** What came of an epoch that was given up. */
  readonly references: readonly Reference[];
  /** What the present epoch has in its place. */
  readonly sameBytes: number;
};

export type LookOptions = {
  /** Perhaps nothing has changed in whole chunks: a tracker that was killed knows no better. */
  readonly isInDoubt: boolean;
  readonly turns: Turns | undefined;
};

type Block = Run & { readonly hash: Uint8Array };

/** How many there are at most in these extents. */
export function blockCount(extents: readonly Extent[]): number {
  return extents.reduce((sum, { offsetBytes, lengthBytes }) => {
    const end = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES);
    return sum + end - Math.floor(offsetBytes / BLOCK_BYTES);
  }, 0);
}

export async function findKnownBlocks(
  volume: RemoteVolume,
  held: WindowMemory,
  pieces: readonly Piece[],
  { isInDoubt, turns }: LookOptions,
): Promise<KnownBlocks> {
  const all: Block[] = [];
  let sameBytes = 0;
  for (const piece of pieces) {
    await turns?.next();
    const blocks = hashed(held, piece);
    const theirs = isInDoubt ? await presentHashes(volume, piece) : undefined;
    for (const [index, block] of blocks.entries()) {
      const their = theirs?.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
      if (their !== undefined && equalBytes(block.hash, their)) sameBytes += block.lengthBytes;
      else all.push(block);
    }
  }
  if (!volume.wasInterrupted)
    return { pieces: held.cutAnew(joined(all)), references: [], sameBytes };
  const known = await volume.alreadyThere(all.filter(({ hash }) => !isZero(hash)));
  const rest = all.filter((block) => !known.has(block));
  return { pieces: held.cutAnew(joined(rest)), references: [...known], sameBytes };
}

/** Of each block of a whole chunk; undefined if there is nothing to be asked. */
async function presentHashes(
  volume: RemoteVolume,
  { offsetBytes, lengthBytes }: Extent,
): Promise<Uint8Array | undefined> {
  if (lengthBytes !== OFFER_BYTES) return undefined;
  try {
    return await volume.hashes(offsetBytes, OFFER_BYTES / BLOCK_BYTES, BLOCK_BYTES);
  } catch (error) {
    // Who may not look into the volume sends what may be there.
    const isRefused = hasCode(error, 'REPLICATE_REFUSED');
    if (isRefused && (error as ReplicateError).remoteCode === 'REPLICATE_DENIED') return undefined;
    throw error;
  }
}

function hashed(held: WindowMemory, piece: Piece): Block[] {
  return [...blocksIn(piece)].map(({ offsetBytes, lengthBytes }) => {
    const at = piece.at + offsetBytes - piece.offsetBytes;
    const content = held.contentOf({ at, lengthBytes });
    const hash = isZero(content) ? new Uint8Array(SHA256_BYTES) : sha256(content);
    return { offsetBytes, lengthBytes, at, hash };
  });
}

/** Parts that lie in one block each. */
function* blocksIn({ offsetBytes, lengthBytes }: Extent): Generator<Extent> {
  const endBytes = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < endBytes; ) {
    const end = Math.min(endBytes, (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES);
    yield { offsetBytes: at, lengthBytes: end - at };
    at = end;
  }
}

/** Neighbours in one chunk become one. */
function joined(blocks: readonly Block[]): Run[] {
  const runs: Run[] = [];
  for (const { offsetBytes, lengthBytes, at } of blocks) {
    const last = runs.at(-1);
    const isNext = last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes;
    if (isNext && offsetBytes % OFFER_BYTES !== 0) {
      runs[runs.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
    } else runs.push({ offsetBytes, lengthBytes, at });
  }
  return runs;
}
