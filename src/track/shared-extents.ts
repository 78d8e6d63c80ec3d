/**
 * A file on XFS or btrfs compared with a clone of it that was made for the last snapshot: where
 * both have the same blocks, nothing was written since.
 */
import {
  type Env,
  type Extent,
  FerryError,
  hasCode,
  type OpenFile,
  type PlacedExtent,
  toHex,
} from '../core/index.ts';
import { type Device, openFile } from '../device/index.ts';
import {
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSource,
  cannotSay,
  type Finish,
} from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import type { SourceMemory } from './source-memory.ts';

/** The clone that the newest snapshot was read from. */
export type CloneMemory = {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
};

export function parseCloneMemory(value: unknown): CloneMemory | undefined {
  const { path, device, inode, sizeBytes, modifiedMs } = Object(value);
  if (typeof path !== 'string') return undefined;
  for (const number of [device, inode, sizeBytes, modifiedMs]) {
    if (typeof number !== 'number') return undefined;
  }
  return { path, device, inode, sizeBytes, modifiedMs };
}

export type SharedExtentsOptions = {
  readonly env: Env;
  readonly path: string;
  readonly memory: SourceMemory<CloneMemory>;
  /** Whether to make a first clone; without it, one that is there is gone on with. */
  readonly begins: boolean;
};

export function sharedExtentsSource(options: SharedExtentsOptions): ChangeSource {
  return { name: 'extents', changes: (question) => ask(options, question) };
}

async function ask(options: SharedExtentsOptions, question: ChangeQuestion): Promise<ChangeAnswer> {
  const { env, memory, begins } = options;
  const kept = await memory.recall(question.since);
  const before = 'value' in kept ? kept.value : kept.old;
  if (!begins) {
    if (before === undefined && 'reason' in kept) {
      if (kept.reason === 'lost') return cannotSay('extents', 'lost', kept.why);
      return cannotSay('extents', 'absent', 'no clone of it is kept (--keep-clone)');
    }
    if (before !== undefined && !(await isThere(env, before.path))) {
      return cannotSay('extents', 'lost', `the clone of the last snapshot is gone, ${before.path}`);
    }
  }
  let clone: Clone;
  try {
    clone = await makeClone(env, options.path);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    const reason = hasCode(error, 'ENV_UNSUPPORTED') ? 'unsupported' : 'failed';
    return cannotSay('extents', reason, error.message);
  }
  const finish = finisher(options, clone, before?.path);
  const { view } = clone;
  if ('reason' in kept) return cannotSay('extents', kept.reason, kept.why, { view, finish });
  const told = await compare(env, kept.value, clone.path);
  if ('why' in told) return cannotSay('extents', told.reason, told.why, { view, finish });
  const { since } = question;
  return {
    kind: 'changes',
    source: 'extents',
    precision: 'superset',
    changed: told.runs,
    reason: `blocks not shared with the clone of ${since!.volume}@${since!.id.slice(0, 8)}`,
    view,
    finish,
  };
}

async function isThere(env: Env, path: string): Promise<boolean> {
  try {
    await env.files.stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND')) return false;
    throw error;
  }
}

type Clone = { readonly path: string; readonly view: Device };

/** The file as it is at one moment, beside it. */
async function makeClone(env: Env, path: string): Promise<Clone> {
  const nonce = new Uint8Array(8);
  env.random.fill(nonce);
  const clonePath = `${path}.ferry-${toHex(nonce)}`;
  const source = await env.files.open(path, 'read');
  try {
    const clone = await env.files.open(clonePath, 'create');
    try {
      if (clone.shareFrom === undefined) throw unsupportedHere();
      clone.shareFrom(source);
      await clone.sync();
    } finally {
      await clone.close();
    }
    return { path: clonePath, view: await openFile(env.files, clonePath, { readOnly: true }) };
  } catch (error) {
    await env.files.remove(clonePath).catch(() => undefined); // The first error counts.
    throw error;
  } finally {
    await source.close();
  }
}

function unsupportedHere(): FerryError<'ENV_UNSUPPORTED'> {
  return new FerryError('ENV_UNSUPPORTED', 'this host cannot clone files', {
    hint: 'Use another source of changes.',
  });
}

/** Committed: this clone is what the next run compares with, and the one before can go. */
function finisher({ env, memory }: SharedExtentsOptions, clone: Clone, before?: string): Finish {
  return async (outcome) => {
    await clone.view[Symbol.asyncDispose]();
    if (outcome.kind === 'failed') {
      await env.files.remove(clone.path);
      return;
    }
    const { device, inode, sizeBytes, modifiedMs } = await env.files.stat(clone.path);
    const value = { path: clone.path, device, inode, sizeBytes, modifiedMs };
    await memory.remember(outcome.snapshot, value);
    if (before !== undefined) await env.files.remove(before).catch(ignoreAbsent);
  };
}

function ignoreAbsent(error: unknown): void {
  if (!hasCode(error, 'ENV_NOT_FOUND')) throw error;
}

type Told =
  | { readonly runs: Extent[] }
  | {
      readonly reason: 'lost' | 'behind-its-back' | 'fell-behind' | 'failed';
      readonly why: string;
    };

async function compare(env: Env, before: CloneMemory, nowPath: string): Promise<Told> {
  let old: OpenFile;
  try {
    old = await env.files.open(before.path, 'read');
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return { reason: 'lost', why: `the clone of the last snapshot is gone: ${error.message}` };
  }
  try {
    const now = await env.files.open(nowPath, 'read');
    try {
      return await compareFiles(before, old, now);
    } finally {
      await now.close();
    }
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return { reason: 'failed', why: error.message };
  } finally {
    await old.close();
  }
}

async function compareFiles(before: CloneMemory, old: OpenFile, now: OpenFile): Promise<Told> {
  const was = await old.stat();
  const is = await now.stat();
  const isSame =
    was.device === before.device &&
    was.inode === before.inode &&
    was.sizeBytes === before.sizeBytes &&
    was.modifiedMs === before.modifiedMs;
  if (!isSame || was.device !== is.device) {
    return { reason: 'behind-its-back', why: `${before.path} is not as it was left` };
  }
  const runs: { offsetBytes: number; lengthBytes: number }[] = [];
  for (const run of unshared(pieces(old), pieces(now), is.sizeBytes)) {
    if (run.offsetBytes >= was.sizeBytes) break;
    if (runs.length === DIRTY_RUNS_MAX) {
      return {
        reason: 'fell-behind',
        why: `it has more than ${DIRTY_RUNS_MAX} pieces that changed`,
      };
    }
    runs.push(run);
  }
  // What is new behind the old end counts as changed, holes too.
  const last = runs.at(-1);
  const end = last === undefined ? 0 : last.offsetBytes + last.lengthBytes;
  const from = Math.max(end, was.sizeBytes);
  if (is.sizeBytes > from) runs.push({ offsetBytes: from, lengthBytes: is.sizeBytes - from });
  return { runs };
}

/** All extents of a file, page by page. */
export function* pieces(file: OpenFile): Generator<PlacedExtent> {
  for (let at = 0; ; ) {
    const page = file.placement?.(at) ?? [];
    for (const piece of page) {
      // A page may begin with what the last one ended in.
      const cut = Math.max(0, at - piece.offsetBytes);
      if (cut >= piece.lengthBytes) continue;
      at = piece.offsetBytes + piece.lengthBytes;
      yield cut === 0 ? piece : part(piece, cut);
    }
    if (page.length === 0) return;
  }
}

function part(piece: PlacedExtent, cut: number): PlacedExtent {
  return {
    ...piece,
    offsetBytes: piece.offsetBytes + cut,
    placeBytes: piece.placeBytes + cut,
    lengthBytes: piece.lengthBytes - cut,
  };
}

/**
 * Ranges of the newer file that are not the same blocks as in the older one, joined. Both lists
 * ascend without overlaps; a gap is a hole, and two holes are equal.
 */
export function* unshared(
  older: Iterable<PlacedExtent>,
  newer: Iterable<PlacedExtent>,
  sizeBytes: number,
): Generator<{ offsetBytes: number; lengthBytes: number }> {
  const [a, b] = [new Cursor(older), new Cursor(newer)];
  let start: number | undefined;
  for (let at = 0; at < sizeBytes; ) {
    const end = Math.min(sizeBytes, a.until(at), b.until(at));
    const differs = !same(a.at(at), b.at(at), at);
    if (differs && start === undefined) start = at;
    if (!differs && start !== undefined) {
      yield { offsetBytes: start, lengthBytes: at - start };
      start = undefined;
    }
    at = end;
  }
  if (start !== undefined) yield { offsetBytes: start, lengthBytes: sizeBytes - start };
}

function same(a: PlacedExtent | undefined, b: PlacedExtent | undefined, at: number): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (!a.isCertain || !b.isCertain || a.isUnwritten !== b.isUnwritten) return false;
  return a.placeBytes + at - a.offsetBytes === b.placeBytes + at - b.offsetBytes;
}

/** Goes through extents in step with an offset that only grows. */
class Cursor {
  readonly #iterator: Iterator<PlacedExtent>;
  #current: PlacedExtent | undefined;

  constructor(extents: Iterable<PlacedExtent>) {
    this.#iterator = extents[Symbol.iterator]();
    this.#current = this.#next();
  }

  /** The extent that holds the offset, or undefined in a hole. */
  at(offsetBytes: number): PlacedExtent | undefined {
    this.#advance(offsetBytes);
    const found = this.#current;
    return found !== undefined && found.offsetBytes <= offsetBytes ? found : undefined;
  }

  /** Where the extent or hole ends that holds the offset. */
  until(offsetBytes: number): number {
    const found = this.at(offsetBytes);
    if (found !== undefined) return found.offsetBytes + found.lengthBytes;
    return this.#current?.offsetBytes ?? Number.POSITIVE_INFINITY;
  }

  #advance(offsetBytes: number): void {
    while (
      this.#current !== undefined &&
      this.#current.offsetBytes + this.#current.lengthBytes <= offsetBytes
    ) {
      this.#current = this.#next();
    }
  }

  #next(): PlacedExtent | undefined {
    const next = this.#iterator.next();
    return next.done === true ? undefined : next.value;
  }
}
