/** S3 object store: objects under a prefix of a bucket, of AWS or any server that speaks S3. */
import assert from 'node:assert/strict';
import { type Clock, type Random, toHex } from '../core/index.ts';
import { notFoundError, rangeError, tooLargeError } from './object-errors.ts';
import { checkObjectName, checkPrefix, isObjectName, TEMPORARY_FOLDER } from './object-name.ts';
import type { ObjectEntry, ObjectStore, ObjectWriter } from './object-store.ts';
import { type S3Attempt, type S3Call, S3Calls, type S3Pace, type S3Usage } from './s3-calls.ts';
import { AnswerError, dropBody, failureOf, readBody, type S3Access } from './s3-client.ts';
import { S3_READS_IN_FLIGHT } from './s3-limits.ts';
import { checkEndpoint, parseS3Location } from './s3-location.ts';
import { findAbilities, type S3Abilities } from './s3-probe.ts';
import { S3Puts } from './s3-puts.ts';
import { S3Writer } from './s3-writer.ts';

export type S3Options = {
  /** `s3://BUCKET/PREFIX` */
  readonly location: string;
  readonly access: S3Access;
  readonly clock: Clock;
  readonly random: Random;
  readonly pace?: S3Pace | undefined;
};

export interface S3ObjectStore extends ObjectStore {
  /** Finds out by trying whether the server refuses to put an object where one is. */
  probe(): Promise<S3Abilities>;
  /** For a server that does not: names are looked up first. Two writers are then not safe. */
  putWithoutConditions(): void;
  /** Requests and bytes since it was opened. */
  readonly usage: S3Usage;
}

/** Makes no request. OBJECT_NAME if location or endpoint are none. */
export function s3Store(options: S3Options): S3ObjectStore {
  return new S3Store(options);
}

class S3Store implements S3ObjectStore {
  readonly name: string;
  readonly readsInFlight = S3_READS_IN_FLIGHT;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #calls: S3Calls;
  readonly #puts: S3Puts;
  readonly #options: S3Options;

  constructor(options: S3Options) {
    const { access, clock, random, pace } = options;
    const { bucket, prefix } = parseS3Location(options.location);
    if (access.endpoint !== undefined) checkEndpoint(access.endpoint);
    this.name = `s3://${bucket}/${prefix}`.replace(/\/$/, '');
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#options = options;
    this.#calls = new S3Calls({ storeName: this.name, access, clock, random, pace });
    const storeName = this.name;
    this.#puts = new S3Puts({ calls: this.#calls, bucket, prefix, storeName, random });
  }

  get usage(): S3Usage {
    return this.#calls.usage;
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    checkObjectName(key);
    return this.#found({ verb: 'read', key, class: 'get' }, async (attempt) => {
      const { sdk, client, signal, extend } = attempt;
      const answer = await client.send(new sdk.GetObjectCommand(this.#place(key)), {
        abortSignal: signal,
      });
      const sizeBytes = answer.ContentLength;
      if (sizeBytes === undefined) {
        dropBody(answer.Body);
        throw new AnswerError('an object without a length');
      }
      if (sizeBytes > bytesMax) {
        dropBody(answer.Body);
        throw tooLargeError(this.name, key, { sizeBytes, bytesMax });
      }
      const bytes = new Uint8Array(sizeBytes);
      extend(sizeBytes);
      await readBody(answer.Body, bytes, signal);
      this.usage.downloadedBytes += sizeBytes;
      return bytes;
    });
  }

  async getRange(key: string, target: Uint8Array, offsetBytes: number): Promise<void> {
    checkObjectName(key);
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, `bad offset: ${offsetBytes}`);
    const lengthBytes = target.byteLength;
    const wanted = { offsetBytes, lengthBytes };
    if (lengthBytes === 0) {
      // An empty range cannot be asked for.
      if (offsetBytes > (await this.size(key))) throw rangeError(this.name, key, wanted);
      return;
    }
    const call = { verb: 'read', key, class: 'get', bytes: lengthBytes } as const;
    await this.#found(call, (attempt) => this.#range(attempt, key, target, offsetBytes));
  }

  async #range(
    { sdk, client, signal }: S3Attempt,
    key: string,
    target: Uint8Array,
    offsetBytes: number,
  ): Promise<void> {
    const lengthBytes = target.byteLength;
    const end = offsetBytes + lengthBytes - 1;
    const command = new sdk.GetObjectCommand({
      ...this.#place(key),
      Range: `bytes=${offsetBytes}-${end}`,
    });
    const wanted = { offsetBytes, lengthBytes };
    try {
      const { Body, ContentRange } = await client.send(command, { abortSignal: signal });
      const total = totalOf(ContentRange, offsetBytes);
      if (total === undefined || total <= end) {
        dropBody(Body);
        if (total !== undefined) throw rangeError(this.name, key, wanted);
        throw new AnswerError(`asked for ${offsetBytes}-${end}, got ${ContentRange ?? 'all'}`);
      }
      await readBody(Body, target, signal);
    } catch (error) {
      if (failureOf(error)?.status !== 416) throw error;
      throw rangeError(this.name, key, wanted);
    }
    this.usage.downloadedBytes += lengthBytes;
  }

  async size(key: string): Promise<number> {
    checkObjectName(key);
    return this.#found({ verb: 'examine', key, class: 'get' }, async (attempt) => {
      const { sdk, client, signal } = attempt;
      const command = new sdk.HeadObjectCommand(this.#place(key));
      const { ContentLength } = await client.send(command, { abortSignal: signal });
      if (ContentLength === undefined) throw new AnswerError('an object without a length');
      return ContentLength;
    });
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<void> {
    checkObjectName(key);
    await this.#puts.put(key, bytes);
  }

  async create(key: string): Promise<ObjectWriter> {
    checkObjectName(key);
    return new S3Writer(this.#puts, key);
  }

  async *list(prefix: string, after = ''): AsyncGenerator<ObjectEntry> {
    checkPrefix(prefix);
    if (after !== '') checkObjectName(after);
    let token: string | undefined;
    do {
      const page = await this.#page(prefix, after, token);
      yield* page.entries;
      token = page.next;
    } while (token !== undefined);
  }

  async #page(
    prefix: string,
    after: string,
    token: string | undefined,
  ): Promise<{ readonly entries: ObjectEntry[]; readonly next: string | undefined }> {
    const call: S3Call = { verb: 'list', key: prefix, class: 'list' };
    return this.#calls.run(call, async ({ sdk, client, signal }) => {
      const command = new sdk.ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: this.#prefix + prefix,
        ...(after !== '' && { StartAfter: this.#prefix + after }),
        ...(token !== undefined && { ContinuationToken: token }),
      });
      const answer = await client.send(command, { abortSignal: signal });
      const entries: ObjectEntry[] = [];
      for (const { Key = '', Size } of answer.Contents ?? []) {
        const key = Key.slice(this.#prefix.length);
        if (!Key.startsWith(this.#prefix) || !isObjectName(key) || Size === undefined) continue;
        if (key <= after) continue; // A server may not know where to start.
        entries.push({ key, sizeBytes: Size });
      }
      const next = answer.IsTruncated === true ? answer.NextContinuationToken : undefined;
      if (answer.IsTruncated === true && next === undefined) {
        throw new AnswerError('a listing that goes on, but not where');
      }
      return { entries, next };
    });
  }

  async remove(key: string): Promise<void> {
    checkObjectName(key);
    await this.#calls.run({ verb: 'remove', key, class: 'delete' }, async (attempt) => {
      await this.#delete(attempt, key);
    });
  }

  async #delete({ sdk, client, signal }: S3Attempt, key: string): Promise<void> {
    try {
      await client.send(new sdk.DeleteObjectCommand(this.#place(key)), { abortSignal: signal });
    } catch (error) {
      if (failureOf(error)?.name !== 'NoSuchKey') throw error;
    }
  }

  probe(): Promise<S3Abilities> {
    const id = new Uint8Array(16);
    this.#options.random.fill(id);
    const key = `${TEMPORARY_FOLDER}/probe-${toHex(id)}`;
    return findAbilities(this.#calls, { Bucket: this.#bucket, Key: this.#prefix + key });
  }

  putWithoutConditions(): void {
    this.#puts.isConditional = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.close();
  }

  #place(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  /** Runs a call about one object that must be there. */
  async #found<T>(call: S3Call, work: (attempt: S3Attempt) => Promise<T>): Promise<T> {
    return this.#calls.run(call, async (attempt) => {
      try {
        return await work(attempt);
      } catch (error) {
        const failure = failureOf(error);
        // A missing bucket is another matter, where the answer has a body that can tell.
        if (failure?.status !== 404 || failure.name === 'NoSuchBucket') throw error;
        throw notFoundError(this.name, call.key);
      }
    });
  }
}

/** The object's size, from `bytes 0-99/1234`; undefined if the answer is not for that offset. */
function totalOf(contentRange: string | undefined, offsetBytes: number): number | undefined {
  const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(contentRange ?? '');
  if (match === null || Number(match[1]) !== offsetBytes) return undefined;
  return Number(match[2]);
}
