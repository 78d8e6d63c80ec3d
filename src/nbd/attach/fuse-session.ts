/** Answers the requests of one FUSE mount from a device: bounded, in order where they overlap. */
import assert from 'node:assert/strict';
import { attempt, type EnvError, type FuseMount, hasCode } from '../../core/index.ts';
import { type Answer, type Device, NO_HOLE } from '../../device/index.ts';
import { EINVAL, EIO, ENOSPC, ENOTSUP, ESHUTDOWN, errorNumber } from '../error-numbers.ts';
import { fitted } from '../fitted.ts';
import { type Claim, RangeLock } from '../range-lock.ts';
import {
  decodeRequest,
  encodeInit,
  encodeOffset,
  encodeStatus,
  encodeWritten,
  type FuseRequest,
  putReplyHeader,
  uniqueOf,
} from './fuse-codec.ts';
import {
  EBADF,
  ENOSYS,
  ENXIO,
  EPROTO,
  EROFS,
  FALLOCATE_KEEP_SIZE,
  FALLOCATE_PUNCH_HOLE,
  FALLOCATE_ZERO_RANGE,
  FUSE_MAJOR,
  FUSE_MINOR_MIN,
  INIT_ASYNC_DIRECT_IO,
  INIT_ASYNC_READ,
  INIT_BIG_WRITES,
  INIT_MAX_PAGES,
  INIT_PARALLEL_DIRECTORIES,
  OP_BATCH_FORGET,
  OP_DESTROY,
  OP_FALLOCATE,
  OP_FLUSH,
  OP_FORGET,
  OP_FSYNC,
  OP_FSYNCDIR,
  OP_INIT,
  OP_INTERRUPT,
  OP_LSEEK,
  OP_READ,
  OP_RELEASE,
  OP_RELEASEDIR,
  OP_WRITE,
  REPLY_HEADER_BYTES,
  WHENCE_DATA,
  WHENCE_HOLE,
} from './fuse-constants.ts';
import type { FuseTree } from './fuse-tree.ts';
import {
  FUSE_BUFFER_BYTES,
  FUSE_BUFFERS_IDLE_MAX,
  FUSE_REQUESTS_MAX,
  FUSE_TRANSFER_BYTES_MAX,
  READ_AHEAD_BYTES_MAX,
  SEEK_EXTENTS_MAX,
} from './limits.ts';

const capabilities =
  INIT_ASYNC_READ |
  INIT_BIG_WRITES |
  INIT_ASYNC_DIRECT_IO |
  INIT_PARALLEL_DIRECTORIES |
  INIT_MAX_PAGES;

/** Node's thread pool has four threads; this many of them wait for the kernel's next request. */
const READS_IN_FLIGHT = 1;

/** A request that the device works on, with the one buffer that it holds. */
type Job = Claim & { readonly request: FuseRequest; readonly buffer: Uint8Array };

export type FuseSessionOptions = {
  readonly mount: FuseMount;
  /** Whoever opened it disposes it, after `ended`. */
  readonly device: Device;
  readonly tree: FuseTree;
  /** Something is wrong that no caller of the file hears of. */
  onTrouble(error: unknown): void;
};

export class FuseSession {
  /** Resolves when the mount is gone and every request has been answered. */
  readonly ended: Promise<void>;
  readonly #end = Promise.withResolvers<void>();
  readonly #mount: FuseMount;
  readonly #device: Device;
  readonly #tree: FuseTree;
  readonly #onTrouble: (error: unknown) => void;
  readonly #lock: RangeLock;
  readonly #idle: Uint8Array[] = [];
  #reads = 0;
  #jobs = 0;
  #isOver = false;

  constructor({ mount, device, tree, onTrouble }: FuseSessionOptions) {
    this.ended = this.#end.promise;
    this.#mount = mount;
    this.#device = fitted(device);
    this.#tree = tree;
    this.#onTrouble = onTrouble;
    this.#lock = new RangeLock(device.blockSizes.minimumBytes);
    this.#readMore();
  }

  /** Requests that wait for the device. */
  get requestCount(): number {
    return this.#jobs;
  }

  #readMore(): void {
    while (!this.#isOver && this.#reads < READS_IN_FLIGHT && this.#jobs < FUSE_REQUESTS_MAX) {
      const buffer = this.#idle.pop() ?? new Uint8Array(FUSE_BUFFER_BYTES);
      this.#reads += 1;
      this.#mount.read(buffer, (error, bytes) => {
        this.#reads -= 1;
        if (error !== null) this.#stop(error);
        else this.#take(buffer, bytes);
        this.#readMore();
        this.#finish();
      });
    }
  }

  #stop(error: EnvError): void {
    this.#isOver = true;
    if (!hasCode(error, 'ENV_CLOSED')) this.#onTrouble(error);
  }

  #finish(): void {
    if (!this.#isOver || this.#reads > 0 || this.#jobs > 0) return;
    this.#mount.close();
    this.#end.resolve();
  }

  #giveBack(buffer: Uint8Array): void {
    if (this.#idle.length < FUSE_BUFFERS_IDLE_MAX) this.#idle.push(buffer);
  }

  #reply(reply: Uint8Array): void {
    try {
      this.#mount.write(reply);
    } catch (error) {
      this.#onTrouble(error); // The caller of this one waits until the mount is taken away.
    }
  }

  /** `buffer` is the job's from here on, or goes back. */
  #take(buffer: Uint8Array, bytes: number): void {
    const request = decodeRequest(buffer.subarray(0, bytes));
    if (request !== undefined && this.#isAboutBytes(request)) {
      this.#begin(request, buffer);
      return;
    }
    const reply =
      request === undefined
        ? encodeStatus(uniqueOf(buffer.subarray(0, bytes)), EPROTO)
        : this.#answerAtOnce(request);
    this.#giveBack(buffer);
    if (reply !== undefined) this.#reply(reply);
  }

  #isAboutBytes({ opcode }: FuseRequest): boolean {
    switch (opcode) {
      case OP_READ:
      case OP_WRITE:
      case OP_FSYNC:
      case OP_FALLOCATE:
      case OP_LSEEK:
        return true;
      default:
        return false;
    }
  }

  /** Undefined: this one gets no reply. */
  #answerAtOnce(request: FuseRequest): Uint8Array | undefined {
    switch (request.opcode) {
      case OP_INIT:
        return this.#init(request);
      case OP_FORGET:
      case OP_BATCH_FORGET:
        return undefined;
      case OP_INTERRUPT:
        // What a device has begun cannot be called back, and its client's deadline ends it.
        return undefined;
      case OP_FLUSH: // Of one descriptor, when it is closed: nothing of it is kept here.
      case OP_RELEASE:
      case OP_RELEASEDIR:
      case OP_FSYNCDIR:
      case OP_DESTROY:
        return encodeStatus(request, 0);
      default:
        return this.#tree.answer(request) ?? encodeStatus(request, ENOSYS);
    }
  }

  #init(request: FuseRequest): Uint8Array {
    const { major, minor } = request.version;
    if (major !== FUSE_MAJOR || minor < FUSE_MINOR_MIN) {
      this.#onTrouble(new Error(`the kernel speaks FUSE ${major}.${minor}, which is not known`));
      return encodeStatus(request, EPROTO);
    }
    return encodeInit(request, {
      readAheadBytes: Math.min(request.readAheadBytes, READ_AHEAD_BYTES_MAX),
      flags: request.flags & capabilities,
      backgroundMax: FUSE_REQUESTS_MAX,
      writeBytesMax: FUSE_TRANSFER_BYTES_MAX,
    });
  }

  #begin(request: FuseRequest, buffer: Uint8Array): void {
    const job: Job = {
      request,
      buffer,
      offsetBytes: request.offsetBytes,
      lengthBytes: this.#reachBytes(request),
      writes: request.opcode === OP_WRITE || request.opcode === OP_FALLOCATE,
      proceed: () => this.#run(job),
      earlier: undefined,
      later: undefined,
      waiting: undefined,
      nextWaiting: undefined,
    };
    this.#jobs += 1;
    assert(this.#jobs < FUSE_REQUESTS_MAX + READS_IN_FLIGHT, 'requests in flight are bounded');
    if (job.lengthBytes === 0 || this.#lock.enter(job)) this.#run(job);
  }

  /** How many bytes of the device a request touches. */
  #reachBytes({ opcode, offsetBytes, lengthBytes }: FuseRequest): number {
    const counts = opcode === OP_READ || opcode === OP_WRITE || opcode === OP_FALLOCATE;
    const leftBytes = this.#device.sizeBytes - offsetBytes;
    return counts ? Math.max(0, Math.min(lengthBytes, leftBytes)) : 0;
  }

  #run(job: Job): void {
    attempt<Uint8Array | undefined>(
      () => this.#perform(job),
      (reply) => this.#settle(job, reply ?? encodeStatus(job.request, 0)),
      (error) => this.#settle(job, encodeStatus(job.request, numberOf(error))),
    );
  }

  #settle(job: Job, reply: Uint8Array): void {
    this.#reply(reply);
    this.#giveBack(job.buffer);
    this.#jobs -= 1;
    if (job.lengthBytes > 0) this.#lock.leave(job);
    this.#readMore();
    this.#finish();
  }

  #perform(job: Job): Answer<Uint8Array | undefined> {
    const { request } = job;
    if (request.opcode === OP_FSYNC) return then(this.#device.flush(), undefined);
    if (request.node !== this.#tree.fileNode) return encodeStatus(request, EBADF);
    switch (request.opcode) {
      case OP_READ:
        return this.#read(job);
      case OP_WRITE:
        return this.#write(job);
      case OP_FALLOCATE:
        return this.#allocate(job);
      default:
        return this.#seek(request);
    }
  }

  #read({ request, buffer, lengthBytes }: Job): Answer<Uint8Array> {
    if (request.lengthBytes > FUSE_TRANSFER_BYTES_MAX) return encodeStatus(request, EINVAL);
    const reply = buffer.subarray(0, REPLY_HEADER_BYTES + lengthBytes);
    const target = reply.subarray(REPLY_HEADER_BYTES);
    putReplyHeader(reply, request, 0); // It lies where the request lay, which is decoded.
    if (lengthBytes === 0) return reply;
    return then(this.#device.read(target, request.offsetBytes), reply);
  }

  #write({ request, lengthBytes }: Job): Answer<Uint8Array> {
    if (this.#device.readOnly) return encodeStatus(request, EROFS);
    if (lengthBytes === 0 && request.lengthBytes > 0) return encodeStatus(request, ENOSPC);
    const source = request.payload.subarray(0, lengthBytes);
    const done = lengthBytes === 0 ? undefined : this.#device.write(source, request.offsetBytes, 0);
    return then(done, encodeWritten(request, lengthBytes));
  }

  #allocate({ request, lengthBytes }: Job): Answer<Uint8Array | undefined> {
    if (this.#device.readOnly) return encodeStatus(request, EROFS);
    const keepsSize = (request.flags & FALLOCATE_KEEP_SIZE) !== 0;
    const kind = request.flags & ~FALLOCATE_KEEP_SIZE;
    if (kind !== FALLOCATE_PUNCH_HOLE && kind !== FALLOCATE_ZERO_RANGE) {
      return encodeStatus(request, ENOTSUP);
    }
    if (!keepsSize && lengthBytes < request.lengthBytes) return encodeStatus(request, ENOSPC);
    if (lengthBytes === 0) return undefined;
    const flags = kind === FALLOCATE_ZERO_RANGE ? NO_HOLE : 0;
    return then(this.#device.zero(lengthBytes, request.offsetBytes, flags), undefined);
  }

  async #seek(request: FuseRequest): Promise<Uint8Array> {
    const { sizeBytes } = this.#device;
    const wantsHole = request.flags === WHENCE_HOLE;
    if (!wantsHole && request.flags !== WHENCE_DATA) return encodeStatus(request, EINVAL);
    let at = request.offsetBytes;
    if (at >= sizeBytes) return encodeStatus(request, ENXIO);
    while (at < sizeBytes) {
      const extents = await this.#device.extents(sizeBytes - at, at, SEEK_EXTENTS_MAX);
      for (const { offsetBytes, lengthBytes, kind } of extents) {
        if ((kind === 'data') !== wantsHole) return encodeOffset(request, offsetBytes);
        at = offsetBytes + lengthBytes;
      }
      if (extents.length === 0) return encodeStatus(request, EIO);
    }
    // Every file ends in a hole.
    return wantsHole ? encodeOffset(request, sizeBytes) : encodeStatus(request, ENXIO);
  }
}

function then<T>(answer: Answer, value: T): Answer<T> {
  return answer instanceof Promise ? answer.then(() => value) : value;
}

/** A server that left is an I/O error to whoever uses the file. */
function numberOf(error: unknown): number {
  const number = errorNumber(error);
  return number === ESHUTDOWN ? EIO : number;
}
