/** `npm run build`: bundles the package's JavaScript, and declares its libraries. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { builtins } from './builtins.ts';

const root = join(import.meta.dirname, '../..');

/**
 * What something outside of the bundle names: `bin/ferry`, `exports` of package.json, and the
 * modules that threads begin with. All lie in one folder, as `siblingModule` looks for those beside
 * whoever asks, two levels deep like the sources, for `../../package.json`.
 */
const entryPoints = {
  ferry: 'src/cli/main.ts',
  core: 'src/core/index.ts',
  device: 'src/device/index.ts',
  nbd: 'src/nbd/index.ts',
  store: 'src/transfer/library.ts',
  'worker-bootstrap': 'src/core/node/worker-bootstrap.ts',
  'codec-worker': 'src/codec/codec-worker.ts',
  'serving-worker': 'src/nbd/threads/serving-worker.ts',
};

/** Every command loads it; the other packages stay packages. */
const BUNDLED = 'commander';

/** Writes the JavaScript into `folder`/code. See docs/decisions/esbuild.md. */
export async function bundle(folder: string): Promise<void> {
  const { dependencies, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const outdir = join(folder, 'code');
  await build({
    absWorkingDir: root,
    entryPoints,
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: `node${engines.node.replace('>=', '')}`,
    external: Object.keys(dependencies),
    plugins: [builtins],
    // What is bundled and no ES module asks for Node's own modules only.
    banner: { js: 'const require = process.getBuiltinModule;' },
    charset: 'utf8',
    logLevel: 'warning',
  });
  copyFileSync(join(root, 'node_modules', BUNDLED, 'LICENSE'), join(outdir, `${BUNDLED}.LICENSE`));
}

if (import.meta.main) {
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const tsc = join(root, 'node_modules/.bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: 'inherit',
  });
  await bundle('dist');
}
