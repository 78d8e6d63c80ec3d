/** Goal: a command does not wait for code that it does not run. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');

/** Imports that are there at run time: not those of types, not the dynamic ones. */
const staticImport = /^(?:import|export)\s(?!type\b)[^;]*?from '(\.[^']+)';/gms;

/** All files that `path` loads when it is imported. */
function loadedBy(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  for (const [, specifier] of readFileSync(path, 'utf8').matchAll(staticImport)) {
    loadedBy(join(dirname(path), specifier!), found);
  }
  return found;
}

test('before a command runs, only the command line and core are loaded', () => {
  const files = [...loadedBy(join(root, 'cli/main.ts'))].map((path) => relative(root, path));
  assert.ok(files.includes('cli/table/serving.ts'), 'the walk reaches the table');
  const others = files.filter((file) => !/^(?:cli|core)\//.test(file));
  assert.deepEqual(others, []);
  assert.deepEqual(
    files.filter((file) => file.startsWith('cli/commands/')),
    [],
  );
});

test('threads start before the rest of a backup or a restore is loaded, and NBD code for NBD only', () => {
  for (const command of ['backup', 'restore']) {
    const first = [...loadedBy(join(root, `cli/commands/${command}.ts`))];
    const others = first.filter(
      (path) => !/^(?:cli\/(?:commands|state-directory)|codec|core)\b/.test(relative(root, path)),
    );
    assert.deepEqual(others, []);
  }
  for (const journey of ['take-snapshot', 'restore-snapshot']) {
    const files = [...loadedBy(join(root, `cli/${journey}.ts`))].map((path) =>
      relative(root, path),
    );
    assert.ok(files.includes('transfer/sources.ts'));
    assert.deepEqual(
      files.filter((file) => file.startsWith('nbd/')),
      [],
    );
  }
});

/** Of packages that cost a tenth of a second or more, and one file that may name them. */
const heavy = {
  '@(?:aws-sdk|smithy)/': 'objects/s3-client.ts',
  '@fastify/': 'service/api/server.ts',
};

test('heavy packages are loaded by what needs them, not by code that may come to that', () => {
  const files = globSync('**/*.ts', { cwd: root }).filter((path) => !path.endsWith('.test.ts'));
  const names = [...Object.keys(heavy), 'node:tls', 'fastify', 'pino', 'prom-client', 'yaml'].join(
    '|',
  );
  const statically = new RegExp(`^(?:import|export)\\s(?!type\\b)[^;]*?from '(?:${names})`, 'm');
  const loading = files.filter((path) => statically.test(readFileSync(join(root, path), 'utf8')));
  for (const file of Object.values(heavy)) assert.ok(files.includes(file), file);
  assert.deepEqual(loading, []);
});

test('a mount loads nothing that reads disks or looks for changes, nor what makes snapshots', () => {
  const files = [...loadedBy(join(root, 'cli/commands/mount.ts'))].map((path) =>
    relative(root, path),
  );
  assert.ok(files.includes('nbd/server.ts'));
  const others = /^(?:track|fs|transfer\/backup)\//;
  assert.deepEqual(
    files.filter((file) => others.test(file)),
    [],
  );
});

test('what only looks at a repository loads nothing that reads disks or talks to hosts', () => {
  const files = [...loadedBy(join(root, 'cli/commands/ls.ts'))].map((path) => relative(root, path));
  assert.ok(files.includes('store/repository.ts'));
  const layers = ['core', 'objects', 'device', 'codec', 'store', 'transfer', 'cli'];
  assert.deepEqual(
    files.filter((file) => !layers.includes(file.split('/')[0]!)),
    [],
  );
});

test('a question to an NBD server loads what it needs to ask, and nothing of repositories', () => {
  const files = [...loadedBy(join(root, 'cli/commands/nbd.ts'))];
  const layers = new Set(files.map((path) => relative(root, path).split('/')[0]));
  assert.deepEqual([...layers].sort(), ['cli', 'core', 'device', 'nbd']);
});
