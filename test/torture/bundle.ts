/** Programs that torture starts again and again, bundled: that halves what a start takes. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Two levels deep, as docs/decisions/esbuild.md says. */
const folder = join(root, '.cache/torture');
/** What threads begin with lies beside. */
const threads = ['src/core/node/worker-bootstrap.ts', 'src/codec/codec-worker.ts'];

/** The path of the program that was made of `module`. */
export function bundled(module: string): string {
  const entryPoints = Object.fromEntries(
    [module, ...threads].map((path) => [nameOf(path), path] as const),
  );
  buildSync({
    absWorkingDir: root,
    entryPoints,
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'error',
  });
  return join(folder, `${nameOf(module)}.js`);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1, -'.ts'.length);
}
