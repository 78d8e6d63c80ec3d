/** What the torture runs have done so far, per code, kept on disk after every round. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Counts by name; `rounds` is one of them. */
export type Counts = Readonly<Record<string, number>>;

/**
 * The first digits of a digest of all code that these modules import, and they themselves. Comments
 * and spaces are left out, and so is what they import of packages.
 */
function codeDigest(modules: readonly string[]): string {
  const { outputFiles } = buildSync({
    absWorkingDir: root,
    entryPoints: [...modules],
    bundle: true,
    write: false,
    outdir: 'never-written',
    format: 'esm',
    platform: 'node',
    packages: 'external',
    legalComments: 'none',
    minifyWhitespace: true,
    logLevel: 'error',
  });
  const hash = createHash('sha256');
  for (const { text } of outputFiles) hash.update(text);
  return hash.digest('hex').slice(0, 12);
}

type Sums = Record<string, Record<string, number>>;

/** FERRY_TORTURE_TOTAL names another file than the one in `.cache/`. */
export class Total {
  readonly path: string;
  readonly code: string;
  readonly #sums: Sums;
  readonly #all: Record<string, Sums>;

  /** `modules` are what processes and threads of a round begin with: other code counts anew. */
  constructor(name: string, modules: readonly string[]) {
    this.path = process.env.FERRY_TORTURE_TOTAL ?? join(root, `.cache/torture-${name}.json`);
    this.code = codeDigest(modules);
    this.#all = read(this.path);
    this.#all[this.code] ??= {};
    this.#sums = this.#all[this.code]!;
  }

  /** How often `count` was counted in rounds of this kind. */
  get(kind: string, count: string): number {
    return this.#sums[kind]?.[count] ?? 0;
  }

  /** Adds what the round answers, or its failure, which it tells; answers how many failed. */
  async count(kind: string, round: () => Promise<Counts>): Promise<0 | 1> {
    try {
      this.add(kind, { failures: 0, ...(await round()) });
      return 0;
    } catch (error) {
      process.stderr.write(`${inspect(error)}\n`);
      this.add(kind, { failures: 1 });
      return 1;
    }
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
