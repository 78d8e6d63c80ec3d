/** A small S3 server for tests: it keeps objects in memory, and fails as it is told. */
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What may be planned for a request. */
export type S3Fault =
  /** Refused before anything happened. */
  | 'busy'
  | 'reset'
  | 'hang'
  | 'expired'
  | 'denied'
  /** Done, then the connection breaks. */
  | 'lost-answer'
  /** The declared length is right, the connection breaks in the middle. */
  | 'cut-body'
  /** Fewer bytes than asked for, with a length that fits them. */
  | 'short-body'
  /** The bytes of another range. */
  | 'other-range'
  /** All of it, with status 200, as from a proxy that knows no ranges. */
  | 'whole'
  /** A page for people. */
  | 'html';

export type S3Request = {
  /** From 1. */
  readonly number: number;
  readonly method: string;
  /** Of the object, without the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
};

export type FakeS3Options = {
  readonly plan?: (request: S3Request) => S3Fault | undefined;
  /** Answers come that much later. */
  readonly latencyMs?: number;
  /** As a few servers do: If-None-Match means nothing. */
  readonly ignoresConditions?: boolean;
  /** Checks and writes in two steps, so that several writers get through. */
  readonly racesConditions?: boolean;
  /** Listings show what was there before the last so many changes. */
  readonly listsStale?: number;
  readonly pageSize?: number;
  /** When uploads began, as this server says. */
  readonly now?: () => Date;
};

type Stored = { readonly bytes: Buffer; readonly meta: Record<string, string> };
type Upload = {
  readonly key: string;
  readonly meta: Record<string, string>;
  readonly begun: Date;
  readonly parts: Map<number, Buffer>;
};

export const BUCKET = 'bucket';
export const fakeCredentials = { accessKeyId: 'AKFAKE', secretAccessKey: 'very-secret-indeed' };

export class FakeS3 implements AsyncDisposable {
  readonly objects = new Map<string, Stored>();
  readonly uploads = new Map<string, Upload>();
  /** By method, and `list`. */
  readonly counts: Record<string, number> = {};
  options: FakeS3Options;
  /** Range reads being answered: now, and at most. */
  reading = 0;
  readingMax = 0;
  #number = 0;
  #changes: Map<string, Stored>[] = [];
  readonly #tags = new WeakMap<Buffer, string>();
  readonly #server: http.Server;

  private constructor(options: FakeS3Options) {
    this.options = options;
    this.#server = http.createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
  }

  static async start(options: FakeS3Options = {}): Promise<FakeS3> {
    const server = new FakeS3(options);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get requests(): number {
    return this.#number;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url!, 'http://x');
    const [, bucket, ...rest] = decodeURIComponent(url.pathname).split('/');
    const seen = {
      number: ++this.#number,
      method: request.method!,
      key: rest.join('/'),
      query: url.searchParams,
    };
    const kind = seen.query.has('list-type') ? 'list' : seen.method;
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    const fault = this.options.plan?.(seen);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { latencyMs = 0 } = this.options;
    const isRead = seen.method === 'GET' && request.headers.range !== undefined;
    if (isRead) this.readingMax = Math.max(this.readingMax, ++this.reading);
    if (latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, latencyMs));
    if (isRead) this.reading--;
    if (refuse(fault, request, response)) return;
    const digest = request.headers['x-amz-content-sha256'];
    if (/^[0-9a-f]{64}$/.test(String(digest))) {
      const found = createHash('sha256').update(body).digest('hex');
      if (found !== digest) return fail(response, 400, 'XAmzContentSHA256Mismatch');
    }
    if (bucket !== BUCKET) return fail(response, 404, 'NoSuchBucket');
    if (fault === 'lost-answer') {
      // Answers into the void.
      await this.#do(seen, request, body, silent());
      response.destroy();
      return;
    }
    await this.#do(seen, request, body, response, fault);
  }

  async #do(
    { method, key, query }: S3Request,
    request: http.IncomingMessage,
    body: Buffer,
    response: http.ServerResponse,
    fault?: S3Fault,
  ): Promise<void> {
    const upload = query.get('uploadId');
    if (method === 'GET' && query.has('list-type')) return this.#list(query, response);
    if (method === 'GET' && query.has('uploads')) return this.#listUploads(query, response);
    if (method === 'GET' || method === 'HEAD') return this.#get(key, request, response, fault);
    if (method === 'POST' && query.has('uploads')) return this.#begin(key, request, response);
    if (upload !== null) return this.#part(upload, { method, key, query }, request, body, response);
    if (method === 'DELETE') {
      this.#change(() => this.objects.delete(key));
      response.writeHead(204).end();
      return;
    }
    if (!(await this.#mayPut(key, request))) return fail(response, 412, 'PreconditionFailed');
    this.#change(() => this.objects.set(key, { bytes: body, meta: metaOf(request) }));
    response.writeHead(200, { etag: tagOf(body) }).end();
  }

  async #mayPut(key: string, request: http.IncomingMessage): Promise<boolean> {
    if (this.options.ignoresConditions || request.headers['if-none-match'] !== '*') return true;
    const isFree = !this.objects.has(key);
    if (this.options.racesConditions) await new Promise((resolve) => setTimeout(resolve, 20));
    return isFree;
  }

  #change(apply: () => void): void {
    const { listsStale = 0 } = this.options;
    if (listsStale > 0) {
      this.#changes.push(new Map(this.objects));
      if (this.#changes.length > listsStale) this.#changes.shift();
    }
    apply();
  }

  #get(
    key: string,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    fault: S3Fault | undefined,
  ): void {
    const found = this.objects.get(key);
    if (found === undefined) {
      fail(response, 404, 'NoSuchKey');
      return;
    }
    const { bytes, meta } = found;
    const headers = { etag: this.#tag(bytes), ...meta };
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (range === null || fault === 'whole') {
      response.writeHead(200, { ...headers, 'content-length': bytes.length });
      if (request.method === 'HEAD') response.end();
      else sendBody(response, bytes, fault);
      return;
    }
    const shift = fault === 'other-range' ? 1 : 0;
    const from = Number(range[1]) + shift;
    if (from >= bytes.length) {
      fail(response, 416, 'InvalidRange');
      return;
    }
    let part = bytes.subarray(from, Number(range[2]) + 1 + shift);
    if (fault === 'short-body') part = part.subarray(0, part.length >> 1);
    response.writeHead(206, {
      ...headers,
      'content-length': part.length,
      'content-range': `bytes ${from}-${from + part.length - 1}/${bytes.length}`,
    });
    sendBody(response, part, fault);
  }

  /** Hashing a pack for each of its ranges would be all that the server does. */
  #tag(bytes: Buffer): string {
    const tag = this.#tags.get(bytes) ?? tagOf(bytes);
    this.#tags.set(bytes, tag);
    return tag;
  }

  #list(query: URLSearchParams, response: http.ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const { pageSize = 1000 } = this.options;
    const shown = this.#changes[0] ?? this.objects;
    const keys = [...shown.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, pageSize);
    const isTruncated = keys.length > page.length;
    const next = isTruncated ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    const contents = page.map((key) => {
      const size = shown.get(key)!.bytes.length;
      return `<Contents><Key>${key}</Key><Size>${size}</Size></Contents>`;
    });
    const truncated = `<IsTruncated>${isTruncated}</IsTruncated>${next}`;
    xml(response, `<ListBucketResult>${truncated}${contents.join('')}</ListBucketResult>`);
  }

  #listUploads(query: URLSearchParams, response: http.ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    const uploads = [...this.uploads]
      .filter(([, { key }]) => key.startsWith(prefix))
      .map(([id, { key, begun }]) => {
        const initiated = `<Initiated>${begun.toISOString()}</Initiated>`;
        return `<Upload><Key>${key}</Key><UploadId>${id}</UploadId>${initiated}</Upload>`;
      });
    xml(response, `<ListMultipartUploadsResult>${uploads.join('')}</ListMultipartUploadsResult>`);
  }

  #begin(key: string, request: http.IncomingMessage, response: http.ServerResponse): void {
    const id = `upload-${this.uploads.size}-${this.#number}`;
    const begun = this.options.now?.() ?? new Date();
    this.uploads.set(id, { key, meta: metaOf(request), begun, parts: new Map() });
    const result = `<UploadId>${id}</UploadId>`;
    xml(response, `<InitiateMultipartUploadResult>${result}</InitiateMultipartUploadResult>`);
  }

  async #part(
    id: string,
    { method, key, query }: Pick<S3Request, 'method' | 'key' | 'query'>,
    request: http.IncomingMessage,
    body: Buffer,
    response: http.ServerResponse,
  ): Promise<void> {
    const upload = this.uploads.get(id);
    if (upload === undefined || upload.key !== key) return fail(response, 404, 'NoSuchUpload');
    if (method === 'DELETE') {
      this.uploads.delete(id);
      response.writeHead(204).end();
    } else if (method === 'PUT') {
      upload.parts.set(Number(query.get('partNumber')), body);
      response.writeHead(200, { etag: tagOf(body) }).end();
    } else {
      if (!(await this.#mayPut(key, request))) return fail(response, 412, 'PreconditionFailed');
      const wanted = [...body.toString().matchAll(/<PartNumber>(\d+)</g)].map(([, n]) => Number(n));
      const bytes = Buffer.concat(wanted.map((number) => upload.parts.get(number)!));
      this.#change(() => this.objects.set(key, { bytes, meta: upload.meta }));
      this.uploads.delete(id);
      const result = `<Key>${key}</Key><ETag>${tagOf(bytes)}</ETag>`;
      xml(response, `<CompleteMultipartUploadResult>${result}</CompleteMultipartUploadResult>`);
    }
  }
}

/** Whether the fault ends the request here. */
function refuse(
  fault: S3Fault | undefined,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): boolean {
  if (fault === 'busy') fail(response, 503, 'SlowDown');
  else if (fault === 'expired') fail(response, 400, 'ExpiredToken');
  else if (fault === 'denied' || request.headers.authorization === undefined) {
    fail(response, 403, 'AccessDenied');
  } else if (fault === 'reset') request.socket.resetAndDestroy();
  else if (fault === 'html') response.writeHead(200).end('<html><body>Welcome!</body>');
  else return fault === 'hang';
  return true;
}

function fail(response: http.ServerResponse, status: number, code: string): void {
  const text = `<Error><Code>${code}</Code><Message>it is ${code}</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml' }).end(text);
}

function xml(response: http.ServerResponse, text: string): void {
  const head = '<?xml version="1.0" encoding="UTF-8"?>';
  response.writeHead(200, { 'content-type': 'application/xml' }).end(head + text);
}

function sendBody(response: http.ServerResponse, bytes: Buffer, fault: S3Fault | undefined): void {
  if (fault !== 'cut-body') {
    response.end(bytes);
    return;
  }
  response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
}

/** Takes an answer and does not send it. */
function silent(): http.ServerResponse {
  const swallow: unknown = { writeHead: () => swallow, end: () => swallow, write: () => true };
  return swallow as http.ServerResponse;
}

function metaOf(request: http.IncomingMessage): Record<string, string> {
  const found = Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-'));
  return Object.fromEntries(found) as Record<string, string>;
}

function tagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`;
}
