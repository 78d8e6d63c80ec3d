/** Goal: commands take an S3 repository like a directory, and never show a secret. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { BUCKET, FakeS3, fakeCredentials } from '../../src/objects/s3-server.suite.ts';
import { type Finished, run } from '../interop/processes.ts';
import { ferryPath, MIB, noise, type Place, place, writeImage } from './ferry.ts';

const { accessKeyId, secretAccessKey } = fakeCredentials;

async function ferryAt(at: Place, ...words: string[]): Promise<Finished> {
  const finished = await run(ferryPath, words, {
    cwd: at.folder,
    env: {
      ...at.variables,
      FERRY_REPO: `s3://${BUCKET}/disks`,
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    },
  });
  assert.ok(!`${finished.stdout}${finished.stderr}`.includes(secretAccessKey));
  return finished;
}

test('init, backup, ls, check and restore on an S3 server, named by --endpoint', async () => {
  await using server = await FakeS3.start();
  await using at = await place();
  const endpoint = ['--endpoint', server.endpoint];
  const disk = noise(2 * MIB, 1);
  await writeImage(at.path('disk.img'), 4 * MIB, { [MIB]: disk });
  for (const words of [['init'], ['backup', 'disk.img'], ['check', '--read-data']]) {
    const { exitCode, stderr } = await ferryAt(at, ...words, ...endpoint);
    assert.equal(exitCode, 0, `${words}: ${stderr}`);
  }
  const stats = await ferryAt(at, 'stats', '--cost', '--json', ...endpoint);
  const { cost } = JSON.parse(stats.stdout) as { cost: { items: { what: string }[] } };
  assert.deepEqual(
    cost.items.map(({ what }) => what),
    ['month', 'written', 'readAll', 'open'],
  );
  const restored = await ferryAt(at, 'restore', 'disk@latest', 'out.img', ...endpoint);
  assert.equal(restored.exitCode, 0, restored.stderr);
  assert.ok((await readFile(at.path('out.img'))).equals(await readFile(at.path('disk.img'))));
});

test('a server that refuses the key, a missing bucket and a secret in the address say what is wrong', async () => {
  await using server = await FakeS3.start({ plan: () => 'denied' });
  await using at = await place();
  const endpoint = ['--endpoint', server.endpoint];
  const denied = await ferryAt(at, 'ls', '--verbose', ...endpoint);
  assert.equal(denied.exitCode, 1);
  assert.match(denied.stderr, /AccessDenied, status 403/);
  server.options = {};
  const missing = await ferryAt(at, 'ls', '--repo', 's3://elsewhere', ...endpoint);
  assert.match(missing.stderr, /NoSuchBucket/);
  const empty = await ferryAt(at, 'ls', ...endpoint);
  assert.equal(empty.exitCode, 10, empty.stderr);
  const secret = ['--repo', `s3://${accessKeyId}:${secretAccessKey}@bucket`];
  const refused = await ferryAt(at, 'ls', ...secret, ...endpoint);
  assert.equal(refused.exitCode, 1);
});
