/** A repository of its own on the Ceph of `npm run test:s3`, used through bin/ferry. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { nodeEnv } from '../../src/core/index.ts';
import { type S3ObjectStore, s3Store } from '../../src/objects/index.ts';
import { ferryPath, type Line, linesOf } from '../cli/ferry.ts';
import { type Finished, run } from '../interop/processes.ts';

/** Ceph answers late while a storage daemon is missing and nobody has noticed. */
export const WAIT_MS = 300_000;

const env = nodeEnv();

export async function makeBucket(): Promise<string> {
  const bucket = `ferry-${randomUUID().slice(0, 8)}`;
  const client = new S3Client({ forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return bucket;
}

export function storeAt(location: string): S3ObjectStore {
  const endpoint = process.env.AWS_ENDPOINT_URL;
  return s3Store({ location, access: { endpoint }, clock: env.clock, random: env.random });
}

export class Place implements AsyncDisposable {
  readonly path: string;
  readonly location: string;
  readonly #variables: Record<string, string | undefined>;

  private constructor(path: string, location: string) {
    this.path = path;
    this.location = location;
    this.#variables = {
      ...process.env,
      FERRY_REPO: location,
      FERRY_STATE_DIR: join(path, 'state'),
      FERRY_CACHE_DIR: join(path, 'cache'),
    };
  }

  static async make(bucket: string): Promise<Place> {
    const folder = await mkdtemp(join(tmpdir(), 'ferry-s3-'));
    const place = new Place(folder, `s3://${bucket}/${randomUUID()}`);
    await place.ok('init');
    return place;
  }

  get options() {
    return { cwd: this.path, env: this.#variables, timeoutMs: WAIT_MS };
  }

  run(...words: string[]): Promise<Finished> {
    return run(ferryPath, words, this.options);
  }

  async ok(...words: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(...words);
    assert.equal(exitCode, 0, `ferry ${words.join(' ')}: ${stderr}`);
    return stdout;
  }

  async json(...words: string[]): Promise<Line[]> {
    return linesOf(await this.ok(...words, '--json', '--no-progress'));
  }

  /** Writes what the disk holds from now on. */
  async disk(name: string, bytes: Uint8Array): Promise<void> {
    await writeFile(join(this.path, name), bytes);
  }

  async restored(snapshot: string): Promise<Buffer> {
    const target = join(this.path, 'restored');
    await this.ok('restore', snapshot, target, '--verify');
    const bytes = await readFile(target);
    await rm(target);
    return bytes;
  }

  async assertRestores(snapshot: string, bytes: Uint8Array): Promise<void> {
    assert.ok((await this.restored(snapshot)).equals(bytes), `${snapshot} differs`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}
