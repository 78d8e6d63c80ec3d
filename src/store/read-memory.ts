/**
 * Remembers, per repository, which packs were read whole and when, so that a check of a part takes
 * those whose turn it is: in the order of the runs, whose times are only compared with an age.
 */
import { posix } from 'node:path';
import {
  type Env,
  fromHex,
  readStateFile,
  replaceStateFile,
  type StateFolder,
  withStateLock,
} from '../core/index.ts';
import { StoreError } from './errors.ts';

/** Packs that were read to the end and found whole, oldest run first; each in one run only. */
export type ReadRun = { readonly time: string; readonly packs: readonly string[] };

export interface ReadMemory {
  /** Empty if nothing was read yet. STORE_READ_MEMORY. */
  recall(repositoryId: string): Promise<readonly ReadRun[]>;
  /** Adds a run; packs that are not among `named` any more are dropped. */
  add(repositoryId: string, run: ReadRun, named: ReadonlySet<string>): Promise<void>;
}

/** 64 MiB of JSON name about a million packs: 32 TiB. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

export function readFiles(env: Env, folder: StateFolder): ReadMemory {
  const pathOf = (repositoryId: string) => posix.join(folder.directory, repositoryId);

  async function recall(repositoryId: string): Promise<readonly ReadRun[]> {
    const path = pathOf(repositoryId);
    const bytes = await readStateFile(env, path, FILE_BYTES_MAX);
    return bytes === undefined ? [] : parse(new TextDecoder().decode(bytes), path);
  }

  return {
    recall,
    add: (repositoryId, run, named) =>
      withStateLock(env, folder, async () => {
        const before = await recall(repositoryId).catch((error) => {
          if (!(error instanceof StoreError)) throw error;
          return []; // It is being replaced: what it said is read again, no more.
        });
        const fresh = new Set(run.packs);
        const kept = before.map(({ time, packs }) => ({
          time,
          packs: packs.filter((pack) => named.has(pack) && !fresh.has(pack)),
        }));
        const runs = [...kept, run].filter(({ packs }) => packs.length > 0);
        const text = `${JSON.stringify(runs)}\n`;
        await replaceStateFile(env, pathOf(repositoryId), new TextEncoder().encode(text));
      }),
  };
}

function parse(text: string, path: string): ReadRun[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (Array.isArray(value) && value.every(isRun)) return value;
  throw new StoreError('STORE_READ_MEMORY', `${path} does not say which packs were read when`, {
    hint: 'The repository itself is not concerned. Remove that file; it is made again.',
  });
}

function isRun(value: unknown): value is ReadRun {
  const { time, packs } = (value ?? {}) as Partial<ReadRun>;
  if (typeof time !== 'string' || !Array.isArray(packs)) return false;
  return packs.every((pack) => typeof pack === 'string' && fromHex(pack, 32) !== undefined);
}

export type PackChoice = {
  /** Of all packs, above 0 and at most 1; rounded up. */
  readonly share: number;
  /** Leaves out what was read no longer ago than this. */
  readonly maxAgeMs?: number;
  readonly nowMs: number;
};

/** Which packs to read: those never read first, then those that were read longest ago. */
export function choosePacks(
  named: readonly string[],
  runs: readonly ReadRun[],
  { share, maxAgeMs, nowMs }: PackChoice,
): Set<string> {
  const turn = new Map<string, number>();
  const young = new Set<string>();
  for (const [at, { time, packs }] of runs.entries()) {
    const ageMs = nowMs - Date.parse(time);
    // A time to come, or none: the clock was wrong once, and nothing is known.
    const isYoung = maxAgeMs !== undefined && ageMs >= 0 && ageMs <= maxAgeMs;
    for (const pack of packs) {
      turn.set(pack, at + 1);
      if (isYoung) young.add(pack);
    }
  }
  const due = named.filter((pack) => !young.has(pack));
  const place = (pack: string) => turn.get(pack) ?? 0;
  due.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  return new Set(due.slice(0, Math.ceil(named.length * share)));
}
