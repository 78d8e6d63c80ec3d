/** Going through the log of a journal: whole transactions, one behind the other. */
import { tooMuch } from './errors.ts';
import { Fields } from './fields.ts';
import { BLOCK_COMMIT, BLOCK_DESCRIPTOR, BLOCK_REVOKE, type Jbd2 } from './jbd2.ts';
import { LOG_READ_BYTES, LOGGED_BLOCKS_MAX } from './limits.ts';
import { readInto } from './read-bytes.ts';

/** A commit block, and what tells it from one of another history. */
export type Commit = { readonly sequence: number; readonly at: number; readonly bytes: Uint8Array };

export type Walk = {
  /** Numbers of blocks of the file system that were logged, in order, with repetitions. */
  readonly logged: readonly number[];
  /** Numbers of blocks that were freed. */
  readonly revoked: readonly number[];
  /** Of the log, all that were gone through. */
  readonly from: number;
  readonly length: number;
  /** The commit of the last transaction that is whole; undefined if there is none. */
  readonly last: Commit | undefined;
};

/** The commit with the first of these numbers that is there, wherever it lies. */
export async function findCommit(
  log: Jbd2,
  ...sequences: readonly number[]
): Promise<Commit | undefined> {
  const { head, first, end } = log.super;
  const found = new Map<number, Commit>();
  if (head !== 0) {
    const at = log.after(head, end - first - 1);
    const newest = commitOf(log, await log.read(at), at);
    if (newest !== undefined) found.set(newest.sequence, newest);
  }
  if (!found.has(sequences[0]!)) {
    for await (const { at, fields } of commitsOf(log, sequences)) {
      const commit = commitOf(log, fields, at);
      if (commit !== undefined && !found.has(commit.sequence)) found.set(commit.sequence, commit);
      if (commit?.sequence === sequences[0]) break;
    }
  }
  return sequences.map((sequence) => found.get(sequence)).find((commit) => commit !== undefined);
}

export async function commitAt(
  log: Jbd2,
  at: number,
  sequence: number,
): Promise<Commit | undefined> {
  const commit = commitOf(log, await log.read(at), at);
  return commit?.sequence === sequence ? commit : undefined;
}

function commitOf(log: Jbd2, fields: Fields, at: number): Commit | undefined {
  const control = log.control(fields);
  if (control?.type !== BLOCK_COMMIT) return undefined;
  return { sequence: control.sequence, at, bytes: fields.bytes.slice() };
}

/** Blocks that may be those commits, ascending; read in large pieces, each into the same memory. */
async function* commitsOf(
  log: Jbd2,
  sequences: readonly number[],
): AsyncGenerator<{ at: number; fields: Fields }> {
  const { first, end, blockBytes } = log.super;
  const blocksMax = Math.min(end - first, LOG_READ_BYTES / blockBytes);
  const memory = new Uint8Array(blocksMax * blockBytes);
  for (let at = first; at < end; ) {
    const { block, runLeft } = log.place(at);
    const count = Math.min(end - at, runLeft, blocksMax);
    const piece = memory.subarray(0, count * blockBytes);
    const range = { offsetBytes: block * blockBytes, lengthBytes: piece.length };
    await readInto(log.fs.device, piece, { ...range, what: 'the journal' });
    const fields = new Fields(piece, 'the journal', 'big');
    for (let index = 0; index < count; index++) {
      const from = index * blockBytes;
      if (fields.u32(from + 4) !== BLOCK_COMMIT) continue;
      if (!sequences.includes(fields.u32(from + 8))) continue;
      const what = `block ${at + index} of the journal`;
      yield { at: at + index, fields: new Fields(fields.take(from, blockBytes), what, 'big') };
    }
    at += count;
  }
}

/**
 * Transactions `sequence`, `sequence + 1`, ... as they follow each other from `from`, up to the
 * first that is not there, not whole, or damaged. FS_LIMIT if they name too much.
 */
export async function walkLog(log: Jbd2, from: number, sequence: number): Promise<Walk> {
  const logged: number[] = [];
  const revoked: number[] = [];
  const size = log.super.end - log.super.first;
  let last: Commit | undefined;
  let at = from;
  let length = 0;
  for (let next = sequence; ; next = (next + 1) >>> 0) {
    const transaction = await readTransaction(log, {
      at,
      sequence: next,
      blocksMax: size - length,
    });
    if (transaction === undefined) return { logged, revoked, from, length, last };
    if (logged.length + transaction.logged.length > LOGGED_BLOCKS_MAX) {
      throw tooMuch(`the journal of ${log.fs.device.name} names too many blocks`);
    }
    for (const block of transaction.logged) logged.push(block);
    for (const block of transaction.revoked) revoked.push(block);
    last = transaction.commit;
    length += transaction.length;
    at = log.after(transaction.commit.at);
  }
}

type Transaction = {
  readonly logged: readonly number[];
  readonly revoked: readonly number[];
  readonly commit: Commit;
  readonly length: number;
};

async function readTransaction(
  log: Jbd2,
  {
    at: from,
    sequence,
    blocksMax,
  }: { readonly at: number; readonly sequence: number; readonly blocksMax: number },
): Promise<Transaction | undefined> {
  const logged: number[] = [];
  const revoked: number[] = [];
  for (let at = from, length = 1; length <= blocksMax; length++, at = log.after(at)) {
    const fields = await log.read(at);
    const control = log.control(fields);
    if (control?.sequence !== sequence) return undefined;
    if (control.type === BLOCK_COMMIT) {
      return { logged, revoked, commit: { sequence, at, bytes: fields.bytes.slice() }, length };
    }
    if (control.type === BLOCK_REVOKE) {
      for (const block of log.revoked(fields)) revoked.push(block);
      continue;
    }
    if (control.type !== BLOCK_DESCRIPTOR) return undefined;
    const tags = log.tags(fields);
    if (tags.length === 0 || length + tags.length > blocksMax) return undefined;
    for (const tag of tags) {
      at = log.after(at);
      length++;
      const content = await log.read(at);
      if (!log.isContent(content.bytes, sequence, tag)) return undefined;
      logged.push(tag.block);
    }
  }
  return undefined;
}
