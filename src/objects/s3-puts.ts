/** Creates objects in S3, in one request or in parts, and knows its own after a lost answer. */
import { type Random, toHex } from '../core/index.ts';
import { existsError } from './object-errors.ts';
import { ObjectError } from './object-store.ts';
import type { S3Attempt, S3Calls } from './s3-calls.ts';
import { AnswerError, failureOf } from './s3-client.ts';
import { S3_ABANDONED_AFTER_MS, S3_ABANDONED_MAX } from './s3-limits.ts';

/** Of each object: the attempt that made it, so that a repeated one recognises itself. */
const NONCE_FIELD = 'ferry-put';

export type S3PutsOptions = {
  readonly calls: S3Calls;
  readonly bucket: string;
  readonly prefix: string;
  readonly storeName: string;
  readonly random: Random;
};

export type S3Part = { readonly number: number; readonly tag: string };
export type S3Upload = { readonly key: string; readonly id: string; readonly nonce: string };

export class S3Puts {
  readonly #options: S3PutsOptions;
  readonly #calls: S3Calls;
  /** The server refuses a taken name by itself; otherwise it is asked first, which is not safe. */
  isConditional = true;
  /** Once a server has said that it does not know conditions on the end of an upload. */
  #isEndConditional = true;
  #swept: Promise<void> | undefined;

  constructor(options: S3PutsOptions) {
    this.#options = options;
    this.#calls = options.calls;
  }

  #place(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#options.prefix + key };
  }

  #nonce(): string {
    const bytes = new Uint8Array(16);
    this.#options.random.fill(bytes);
    return toHex(bytes);
  }

  /** OBJECT_EXISTS if the name is taken. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    const nonce = this.#nonce();
    let tried = false;
    const call = { verb: 'store', key, class: 'put', bytes: bytes.byteLength } as const;
    await this.#calls.run(call, async (attempt) => {
      const { sdk, client, signal } = attempt;
      if (!this.isConditional && (await this.#isTaken(attempt, key, nonce, tried))) return;
      const again = tried;
      tried = true;
      const command = new sdk.PutObjectCommand({
        ...this.#place(key),
        // The SDK takes Buffers as they are; other views it would copy or misread.
        Body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
        ContentLength: bytes.byteLength,
        Metadata: { [NONCE_FIELD]: nonce },
        ...(this.isConditional && { IfNoneMatch: '*' }),
      });
      try {
        await client.send(command, { abortSignal: signal });
      } catch (error) {
        if (failureOf(error)?.status !== 412) throw error;
        if (!again) throw existsError(this.#options.storeName, key);
        if (await this.#isTaken(attempt, key, nonce, again)) return;
        throw new AnswerError('a name that is taken, by nothing');
      }
      this.#calls.usage.uploadedBytes += bytes.byteLength;
    });
  }

  /** True if the object is there by an earlier attempt of ours; OBJECT_EXISTS if by another. */
  async #isTaken(attempt: S3Attempt, key: string, nonce: string, tried: boolean): Promise<boolean> {
    const found = await this.#nonceOf(attempt, key);
    if (found === undefined) return false;
    if (tried && found === nonce) return true;
    throw existsError(this.#options.storeName, key);
  }

  /** Undefined if there is no object; empty if it has none. */
  async #nonceOf({ sdk, client, signal }: S3Attempt, key: string): Promise<string | undefined> {
    this.#calls.usage.requests.get++;
    try {
      const command = new sdk.HeadObjectCommand(this.#place(key));
      const { Metadata } = await client.send(command, { abortSignal: signal });
      return Metadata?.[NONCE_FIELD] ?? '';
    } catch (error) {
      if (failureOf(error)?.status === 404) return undefined;
      throw error;
    }
  }

  async begin(key: string): Promise<S3Upload> {
    const nonce = this.#nonce();
    const id = await this.#calls.run({ verb: 'store', key, class: 'put' }, async (attempt) => {
      const { sdk, client, signal } = attempt;
      const command = new sdk.CreateMultipartUploadCommand({
        ...this.#place(key),
        Metadata: { [NONCE_FIELD]: nonce },
      });
      const { UploadId } = await client.send(command, { abortSignal: signal });
      if (UploadId === undefined) throw new AnswerError('an upload without an id');
      return UploadId;
    });
    this.#swept ??= this.#sweep();
    await this.#swept;
    return { key, id, nonce };
  }

  async part(upload: S3Upload, number: number, bytes: Buffer): Promise<S3Part> {
    const { key, id } = upload;
    const call = { verb: 'store', key, class: 'put', bytes: bytes.byteLength } as const;
    return this.#calls.run(call, async ({ sdk, client, signal }) => {
      const command = new sdk.UploadPartCommand({
        ...this.#place(key),
        UploadId: id,
        PartNumber: number,
        Body: bytes,
        ContentLength: bytes.byteLength,
      });
      const { ETag } = await client.send(command, { abortSignal: signal });
      if (ETag === undefined) throw new AnswerError('a part without a tag');
      this.#calls.usage.uploadedBytes += bytes.byteLength;
      return { number, tag: ETag };
    });
  }

  /** The object is there afterwards; OBJECT_EXISTS if another had the name. */
  async end(upload: S3Upload, parts: readonly S3Part[]): Promise<void> {
    const { key, id, nonce } = upload;
    let tried = false;
    await this.#calls.run({ verb: 'store', key, class: 'put' }, async (attempt) => {
      const { sdk, client, signal } = attempt;
      if (await this.#isTaken(attempt, key, nonce, tried)) return;
      tried = true;
      const command = new sdk.CompleteMultipartUploadCommand({
        ...this.#place(key),
        UploadId: id,
        MultipartUpload: {
          Parts: parts.map(({ number, tag }) => ({ PartNumber: number, ETag: tag })),
        },
        ...(this.#isEndConditional && { IfNoneMatch: '*' }),
      });
      try {
        await client.send(command, { abortSignal: signal });
      } catch (error) {
        const failure = failureOf(error);
        if (failure?.status === 412) throw existsError(this.#options.storeName, key);
        if (failure?.status !== 501 || !this.#isEndConditional) throw error;
        this.#isEndConditional = false;
        throw new AnswerError('the server knows no condition on the end of an upload');
      }
    });
  }

  /** Drops what was uploaded; an upload that is gone already is fine. */
  async abandon(upload: Pick<S3Upload, 'key' | 'id'>): Promise<void> {
    const { key, id } = upload;
    await this.#calls.run({ verb: 'drop', key, class: 'delete' }, async (attempt) => {
      const { sdk, client, signal } = attempt;
      const command = new sdk.AbortMultipartUploadCommand({ ...this.#place(key), UploadId: id });
      try {
        await client.send(command, { abortSignal: signal });
      } catch (error) {
        if (failureOf(error)?.status !== 404) throw error;
      }
    });
  }

  /**
   * Once, before the first large object: drops uploads that began long ago and never ended, as they
   * cost room. Their age is that of the server's clock: the newest upload, ours as a rule, is now.
   * A writer that is so slow fails, and is run again.
   */
  async #sweep(): Promise<void> {
    const { bucket, prefix } = this.#options;
    try {
      const call = { verb: 'list uploads of', key: prefix, class: 'list' } as const;
      const uploads = await this.#calls.run(call, async ({ sdk, client, signal }) => {
        const command = new sdk.ListMultipartUploadsCommand({
          Bucket: bucket,
          Prefix: `${prefix}packs/`,
          MaxUploads: S3_ABANDONED_MAX,
        });
        return (await client.send(command, { abortSignal: signal })).Uploads ?? [];
      });
      const begun = uploads.map(({ Initiated }) => Initiated?.getTime() ?? 0);
      const nowMs = Math.max(0, ...begun);
      for (const [at, { Key, UploadId }] of uploads.entries()) {
        if (nowMs - begun[at]! < S3_ABANDONED_AFTER_MS || begun[at] === 0) continue;
        if (!Key?.startsWith(prefix) || UploadId === undefined) continue;
        await this.abandon({ key: Key.slice(prefix.length), id: UploadId });
      }
    } catch (error) {
      // Some servers cannot list uploads, some users may not: nothing but room is lost.
      if (!(error instanceof ObjectError)) throw error;
    }
  }
}
