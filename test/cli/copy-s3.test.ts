/** Goal: `ferry copy` from and to S3 servers, stopped by SIGINT in its middle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BUCKET, FakeS3, fakeCredentials } from '../../src/objects/s3-server.suite.ts';
import { run, start } from '../interop/processes.ts';
import { ferryPath, linesOf, MIB, noise, place, writeImage } from './ferry.ts';

const { accessKeyId, secretAccessKey } = fakeCredentials;
const DISK = `s3://${BUCKET}/disks`;
/** Far more than is read at once. */
const SIZE = 24 * MIB;
/** Frames of more than is read at once, and of less than the whole. */
const READS = 36;

test('from one server, interrupted and resumed, and on to another one', async () => {
  await using first = await FakeS3.start();
  await using second = await FakeS3.start();
  await using at = await place();
  const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const options = { cwd: at.folder, env: { ...at.variables, ...keys } };
  const ferry = async (...words: string[]) => {
    const { exitCode, stdout, stderr } = await run(ferryPath, [...words, '--json'], options);
    assert.equal(exitCode, 0, `${words.join(' ')}: ${stderr}`);
    return linesOf(stdout);
  };
  const here = ['--endpoint', first.endpoint];
  await writeImage(at.path('disk.img'), SIZE, { 0: noise(SIZE, 1) });
  await ferry('init', '--repo', DISK, ...here);
  await ferry('backup', 'disk.img', '--repo', DISK, ...here);
  await ferry('init');

  let reads = 0;
  const reached = Promise.withResolvers<void>();
  first.options = {
    plan: ({ method, key }) => {
      if (method !== 'GET' || !key.includes('packs/') || ++reads !== READS) return undefined;
      // What is asked for from now on comes after the signal.
      first.options = { latencyMs: 2000 };
      reached.resolve();
      return undefined;
    },
  };
  await using child = start(ferryPath, ['copy', DISK, 'repo', ...here, '--json'], options);
  await Promise.race([reached.promise, child.finished()]);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 130, `after ${reads} reads: ${stderr}`);
  const [error] = linesOf(stderr);
  assert.equal(error!.code, 'CLI_INTERRUPTED');
  assert.match(String(error!.message), /: 0 of 1 snapshot copied$/);

  first.options = {};
  const lines = await ferry('copy', DISK, 'repo', ...here);
  const copied = lines.find(({ state }) => state === 'copied');
  assert(Number(copied!.adoptedPacks) > 0);
  assert.equal(Number(copied!.readBytes) + Number(copied!.foundBytes), SIZE);
  assert(Number(copied!.foundBytes) >= MIB, `${copied!.foundBytes}`);

  const there = ['--endpoint', second.endpoint];
  await ferry('init', '--repo', DISK, ...there);
  await ferry('copy', 'repo', DISK, '--to-endpoint', second.endpoint);
  const summary = (await ferry('check', '--read-data', '--repo', DISK, ...there)).at(-1)!;
  assert.deepEqual([summary.problems, summary.snapshots], [0, 1]);
});
