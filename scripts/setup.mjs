/**
 * Installs the packages of package-lock.json if they are not all there; run before every npm script.
 * Plain JavaScript, because on a fresh clone only the machine's own Node exists, maybe an old one.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function packagesOf(path) {
  return JSON.parse(readFileSync(`${root}${path}`, 'utf8')).packages;
}

/** Compares versions, not times: a checkout gives every file a new time. */
function isInstalled() {
  const ownNode = `${root}node_modules/.bin/node`;
  const installedList = 'node_modules/.package-lock.json';
  if (!existsSync(ownNode) || !existsSync(`${root}${installedList}`)) return false;
  const installed = packagesOf(installedList);
  return Object.entries(packagesOf('package-lock.json')).every(
    ([path, { version, optional }]) =>
      path === '' || optional || installed[path]?.version === version,
  );
}

if (!isInstalled()) {
  process.stderr.write('Installing packages (npm ci), once ...\n');
  const { status, error } = spawnSync(
    'npm',
    ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      stdio: ['ignore', process.stderr.fd, process.stderr.fd],
    },
  );
  if (error || status !== 0 || !isInstalled()) {
    process.stderr.write(`npm ci failed${error ? `: ${error.message}` : ` (${status})`}\n`);
    process.exit(1);
  }
}
