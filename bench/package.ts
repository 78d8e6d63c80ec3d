/** The package as users install it, built anew if a source is newer: what benchmarks run. */
import { cpSync, globSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle } from '../scripts/build/main.ts';

const root = join(import.meta.dirname, '..');
/** Always the same place, so that compiled code is kept between runs as users have it. */
const folder = join(root, 'node_modules/.cache/package');
const stamp = join(folder, 'built');
const copied = ['package.json', 'bin'];

/** The path of the built `ferry`. */
export const ferry = join(folder, 'bin/ferry');

if (isStale()) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of copied) cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync('../..', join(folder, 'node_modules'));
  await bundle(join(folder, 'dist'));
  writeFileSync(stamp, '');
}

function isStale(): boolean {
  const builtMs = statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = globSync(['src/**/*.ts', 'scripts/build/*', 'bin/*', 'package.json'], {
    cwd: root,
  });
  return sources.some((path) => statSync(join(root, path)).mtimeMs > builtMs);
}
