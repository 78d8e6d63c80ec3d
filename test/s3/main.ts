/** `npm run test:s3`: starts a real Ceph, runs the suites on it, and stops it in any case. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findTool } from '../interop/tools.ts';
import { startCeph, stopCeph } from './ceph.ts';

const packages = ['ceph-mon', 'ceph-osd', 'radosgw', 'ceph-common'];
const commands = ['ceph-mon', 'ceph-osd', 'radosgw', 'ceph', 'ceph-authtool', 'radosgw-admin'];

function missing(): string[] {
  return commands.filter((command) => findTool(command) === undefined);
}

function install(): void {
  if (missing().length === 0) return;
  const words = ['install', '--yes', '-qq', '--no-install-recommends', ...packages];
  if (process.getuid?.() !== 0) {
    console.error(`missing: ${missing().join(', ')}; as root: apt-get ${words.join(' ')}`);
    process.exit(1);
  }
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const step of [['update', '-qq'], words]) {
    spawnSync('apt-get', step, { stdio: ['ignore', 'ignore', 'inherit'], env: environment });
  }
  if (missing().length > 0) throw new Error(`still missing: ${missing().join(', ')}`);
}

/** The exit status of the tests. */
async function runTests(variables: Readonly<Record<string, string>>): Promise<number> {
  const wanted = process.argv.slice(2);
  const files = wanted.length > 0 ? wanted : [join(import.meta.dirname, '*.s3.ts')];
  const words = ['--test', '--test-concurrency=1', '--test-timeout=1800000', ...files];
  const environment = { ...process.env, ...variables };
  const child = spawn(process.execPath, words, { stdio: 'inherit', env: environment });
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => child.kill(name));
  return new Promise((resolve) => child.on('close', (status) => resolve(status ?? 1)));
}

install();
const folder = mkdtempSync(join(tmpdir(), 'ferry-ceph-'));
const beganMs = performance.now();
try {
  const { variables } = await startCeph(folder);
  console.error(`Ceph is up after ${((performance.now() - beganMs) / 1000).toFixed(0)} s`);
  process.exitCode = await runTests({ ...variables, FERRY_TEST_CEPH: folder });
} finally {
  await stopCeph(folder);
}
