/** What the torture runs have done so far, per code, kept on disk after every round. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Verdict } from '../nbd/crash.suite.ts';
import type { Forcing } from '../nbd/numbered-load.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const defaultPath = join(root, '.cache/torture-nbd.json');

export type Fault = 'kill -9' | 'power cut';
export type Sum = { rounds: number; promised: number; missing: number };

/** What runs in a round: a total of other code says nothing about this one. */
const sources = ['src/core', 'src/device', 'src/nbd', 'test/nbd'];

/** The first digits of a digest of the code that a round runs. */
export function codeDigest(): string {
  const hash = createHash('sha256');
  for (const folder of sources) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((each) => each.endsWith('.ts')).sort()) {
      hash.update(`${folder}/${name}\n`).update(readFileSync(join(root, folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 12);
}

/** FERRY_TORTURE_TOTAL names another file than the one in `.cache/`. */
export class Total {
  readonly path = process.env.FERRY_TORTURE_TOTAL ?? defaultPath;
  readonly code = codeDigest();
  readonly #sums: Record<string, Sum>;
  readonly #all: Record<string, Record<string, Sum>>;

  constructor() {
    this.#all = read(this.path);
    this.#all[this.code] ??= {};
    this.#sums = this.#all[this.code]!;
  }

  sum(fault: Fault, forcing: Forcing): Sum {
    const key = `${fault}, ${forcing}`;
    this.#sums[key] ??= { rounds: 0, promised: 0, missing: 0 };
    return this.#sums[key]!;
  }

  /** Is on disk when it returns, so that an interruption costs the round under way only. */
  add(fault: Fault, forcing: Forcing, { promised, missing }: Verdict): void {
    const sum = this.sum(fault, forcing);
    sum.rounds += 1;
    sum.promised += promised;
    sum.missing += missing;
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(`${this.path}.new`, `${JSON.stringify(this.#all, undefined, 2)}\n`);
    renameSync(`${this.path}.new`, this.path);
  }
}

function read(path: string): Record<string, Record<string, Sum>> {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw new Error(`${path} cannot be read; remove it to count anew`, { cause: error });
  }
}
