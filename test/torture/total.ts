/** What the torture runs have done so far, per code, kept on disk after every round. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Counts by name; `rounds` is one of them. */
export type Counts = Readonly<Record<string, number>>;

/** The first digits of a digest of the code that a round runs. */
function codeDigest(sources: readonly string[]): string {
  const hash = createHash('sha256');
  for (const folder of sources) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((each) => each.endsWith('.ts')).sort()) {
      hash.update(`${folder}/${name}\n`).update(readFileSync(join(root, folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 12);
}

type Sums = Record<string, Record<string, number>>;

/** FERRY_TORTURE_TOTAL names another file than the one in `.cache/`. */
export class Total {
  readonly path: string;
  readonly code: string;
  readonly #sums: Sums;
  readonly #all: Record<string, Sums>;

  /** `sources` is what runs in a round: a total of other code says nothing about this one. */
  constructor(name: string, sources: readonly string[]) {
    this.path = process.env.FERRY_TORTURE_TOTAL ?? join(root, `.cache/torture-${name}.json`);
    this.code = codeDigest(sources);
    this.#all = read(this.path);
    this.#all[this.code] ??= {};
    this.#sums = this.#all[this.code]!;
  }

  /** How often `count` was counted in rounds of this kind. */
  get(kind: string, count: string): number {
    return this.#sums[kind]?.[count] ?? 0;
  }

  /** Is on disk when it returns, so that an interruption costs the round under way only. */
  add(kind: string, counts: Counts): void {
    this.#sums[kind] ??= {};
    const sum = this.#sums[kind]!;
    for (const [name, count] of Object.entries({ rounds: 1, ...counts })) {
      sum[name] = (sum[name] ?? 0) + count;
    }
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(`${this.path}.new`, `${JSON.stringify(this.#all, undefined, 2)}\n`);
    renameSync(`${this.path}.new`, this.path);
  }
}

function read(path: string): Record<string, Sums> {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw new Error(`${path} cannot be read; remove it to count anew`, { cause: error });
  }
}
