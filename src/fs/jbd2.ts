/** The journal of ext4 (jbd2): its superblock, and its blocks by their place in the log. */
import { partitionPoint, toHex } from '../core/index.ts';
import { CRC_START, crc32c, crc32cOfU32, crc32cWithout } from './crc32c.ts';
import { damaged, tooMuch, unsupported } from './errors.ts';
import type { Ext4 } from './ext4.ts';
import { type FileRun, fileRuns } from './ext4-inode.ts';
import type { Fields } from './fields.ts';
import { LOG_BLOCKS_MAX } from './limits.ts';
import { readFields } from './read-bytes.ts';

const MAGIC = 0xc03b3998;
export const BLOCK_DESCRIPTOR = 1;
export const BLOCK_COMMIT = 2;
const BLOCK_SUPER_1 = 3;
const BLOCK_SUPER_2 = 4;
export const BLOCK_REVOKE = 5;
const SUPER_BYTES = 1024;
const SUPER_SUM_AT = 0xfc;
const HEADER_BYTES = 12;
/** Where a commit block keeps its checksum. */
const COMMIT_SUM_AT = 0x10;
const TAIL_BYTES = 4;

const INCOMPAT = {
  revoke: 0x1,
  is64bit: 0x2,
  asyncCommit: 0x4,
  checksums2: 0x8,
  checksums3: 0x10,
} as const;
const INCOMPAT_KNOWN = 0x1f;

export type Jbd2Super = {
  readonly blockBytes: number;
  /** The log is [first, end), and goes round. */
  readonly first: number;
  readonly end: number;
  /** Of the oldest transaction in it, or of the next one if it is empty. */
  readonly sequence: number;
  /** Where the oldest transaction begins; 0: there is nothing to be replayed. */
  readonly start: number;
  /** Where the next transaction goes, if the kernel notes that (6.4 and later); else 0. */
  readonly head: number;
  readonly is64bit: boolean;
  readonly checksums: 2 | 3 | undefined;
  readonly checksumSeed: number;
};

export type ControlBlock = { readonly type: number; readonly sequence: number };

/** FS_UNSUPPORTED: it is elsewhere, of the first version, or has fast commits. */
export async function openJbd2(fs: Ext4): Promise<Jbd2> {
  const { journalInode, hasJournal, hasFastCommits } = fs.super;
  const { name } = fs.device;
  if (!hasJournal) throw unsupported(`${name} has no journal`);
  if (journalInode === 0) throw unsupported(`the journal of ${name} is on another device`);
  // A clean journal does not show that it has them.
  if (hasFastCommits) throw unsupported(`fast commits of ${name} tell too little of what changed`);
  const inode = await fs.inode(journalInode);
  const runs: FileRun[] = [];
  let next = 0;
  for await (const run of fileRuns(fs, inode)) {
    if (run.fileBlock !== next) throw damaged(`${name}: its journal has holes`);
    next += run.count;
    runs.push(run);
    if (next > LOG_BLOCKS_MAX) throw tooMuch(`${name}: a journal of ${next} blocks`);
  }
  if (next === 0) throw damaged(`${name}: its journal is empty`);
  const { blockBytes } = fs.super;
  const place = { offsetBytes: runs[0]!.block * blockBytes, lengthBytes: SUPER_BYTES };
  const what = `${name}: the superblock of the journal`;
  const header = readSuper(
    await readFields(fs.device, { ...place, what }, 'big'),
    blockBytes,
    next,
  );
  // What no journal that is made anew has: who made it, when, and where its blocks are.
  const made = toHex(inode.bytes.subarray(0, 0x18)) + toHex(inode.bytes.subarray(0x28, 0x64));
  return new Jbd2(fs, header, runs, made);
}

function readSuper(fields: Fields, blockBytes: number, fileBlocks: number): Jbd2Super {
  const { what } = fields;
  const type = fields.u32(4);
  if (fields.u32(0) !== MAGIC || (type !== BLOCK_SUPER_1 && type !== BLOCK_SUPER_2)) {
    throw damaged(`${what} is not there`);
  }
  if (type === BLOCK_SUPER_1) throw unsupported(`${what} is of the first version`);
  const incompat = fields.u32(0x28);
  if ((incompat & ~INCOMPAT_KNOWN) !== 0) throw unsupported(`${what}: features ${incompat}`);
  const is3 = (incompat & INCOMPAT.checksums3) !== 0;
  const is2 = (incompat & INCOMPAT.checksums2) !== 0;
  if (is2 && is3) throw damaged(`${what} has two kinds of checksums`);
  if (is2 || is3) {
    const sum = crc32cWithout(CRC_START, fields.bytes, { at: SUPER_SUM_AT, lengthBytes: 4 });
    if (sum !== fields.u32(SUPER_SUM_AT)) throw damaged(`${what} has a wrong checksum`);
  }
  const [first, end, start, head] = [0x14, 0x10, 0x1c, 0x58].map((at) => fields.u32(at)) as [
    ...[number, number, number, number],
  ];
  const isInside = (block: number) => block === 0 || (block >= first && block <= end);
  if (fields.u32(0xc) !== blockBytes) throw damaged(`${what}: blocks of ${fields.u32(0xc)} bytes`);
  if (first < 1 || end > fileBlocks || first >= end || !isInside(start) || start === end) {
    throw damaged(`${what}: a log from ${first} to ${end} of ${fileBlocks}, begun at ${start}`);
  }
  return {
    ...{ blockBytes, first, end, start },
    sequence: fields.u32(0x18),
    head: isInside(head) ? head : 0,
    is64bit: (incompat & INCOMPAT.is64bit) !== 0,
    checksums: is3 ? 3 : is2 ? 2 : undefined,
    checksumSeed: crc32c(CRC_START, fields.take(0x30, 16)),
  };
}

export class Jbd2 {
  readonly fs: Ext4;
  readonly super: Jbd2Super;
  /** Tells this journal from one that is made in its place. */
  readonly made: string;
  readonly #runs: readonly FileRun[];

  constructor(fs: Ext4, jbd2Super: Jbd2Super, runs: readonly FileRun[], made: string) {
    this.fs = fs;
    this.super = jbd2Super;
    this.#runs = runs;
    this.made = made;
  }

  /** Where a block of the log lies in the file system. */
  place(logBlock: number): { readonly block: number; readonly runLeft: number } {
    const runs = this.#runs;
    const run = runs[partitionPoint(runs.length, (at) => runs[at]!.fileBlock <= logBlock) - 1]!;
    const inRun = logBlock - run.fileBlock;
    return { block: run.block + inRun, runLeft: run.count - inRun };
  }

  /** The place behind, round the end. */
  after(logBlock: number, count = 1): number {
    const { first, end } = this.super;
    return first + ((logBlock - first + count) % (end - first));
  }

  async read(logBlock: number): Promise<Fields> {
    const { blockBytes } = this.super;
    const what = `block ${logBlock} of the journal`;
    const place = { offsetBytes: this.place(logBlock).block * blockBytes, lengthBytes: blockBytes };
    return readFields(this.fs.device, { ...place, what }, 'big');
  }

  /** What a block of the log is, if it is not content; its own checksum must be right. */
  control(block: Fields): ControlBlock | undefined {
    if (block.u32(0) !== MAGIC) return undefined;
    const type = block.u32(4);
    const sequence = block.u32(8);
    if (type !== BLOCK_DESCRIPTOR && type !== BLOCK_COMMIT && type !== BLOCK_REVOKE) {
      return undefined;
    }
    if (this.super.checksums === undefined) return { type, sequence };
    const at = type === BLOCK_COMMIT ? COMMIT_SUM_AT : block.length - TAIL_BYTES;
    const sum = crc32cWithout(this.super.checksumSeed, block.bytes, { at, lengthBytes: 4 });
    return sum === block.u32(at) ? { type, sequence } : undefined;
  }

  /** The blocks that a descriptor names, in the order in which their content follows. */
  tags(descriptor: Fields): Tag[] {
    const { is64bit, checksums } = this.super;
    const tagBytes = checksums === 3 ? 16 : 8 + (is64bit ? 4 : 0) + (checksums === 2 ? 2 : 0);
    const end = descriptor.length - (checksums === undefined ? 0 : TAIL_BYTES);
    const tags: Tag[] = [];
    for (let at = HEADER_BYTES; at + tagBytes <= end; ) {
      const flags = checksums === 3 ? descriptor.u32(at + 4) : descriptor.u16(at + 6);
      const high = is64bit ? descriptor.u32(at + 8) : 0;
      const checksum = checksums === 3 ? descriptor.u32(at + 12) : descriptor.u16(at + 4);
      tags.push({
        block: descriptor.u32(at) + high * 2 ** 32,
        isEscaped: (flags & 1) !== 0,
        checksum,
      });
      if ((flags & 8) !== 0) return tags;
      at += tagBytes + ((flags & 2) !== 0 ? 0 : 16); // The same UUID as before, or one more.
    }
    // One that is full may end without a mark on its last tag.
    return tags;
  }

  /** Blocks whose older copies in the log count no more: they were freed. */
  revoked(block: Fields): number[] {
    const entryBytes = this.super.is64bit ? 8 : 4;
    const end = block.u32(HEADER_BYTES);
    if (end > block.length || end < HEADER_BYTES + 4) {
      throw damaged(`${block.what}: ${end} bytes of blocks that are revoked`);
    }
    const blocks: number[] = [];
    for (let at = HEADER_BYTES + 4; at + entryBytes <= end; at += entryBytes) {
      blocks.push(this.super.is64bit ? block.u64(at) : block.u32(at));
    }
    return blocks;
  }

  /** Whether the content is what was logged for that tag. */
  isContent(content: Uint8Array, sequence: number, { checksum }: Tag): boolean {
    const { checksums, checksumSeed } = this.super;
    if (checksums === undefined) return true;
    const sum = crc32c(crc32cOfU32(checksumSeed, sequence, 'big'), content);
    return (checksums === 3 ? sum : sum & 0xffff) === checksum;
  }
}

export type Tag = {
  /** In the file system. */
  readonly block: number;
  /** Its content began like a block of the journal; those four bytes are zero in the log. */
  readonly isEscaped: boolean;
  readonly checksum: number;
};
