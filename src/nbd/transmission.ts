/** One connection after the handshake: takes requests, drives the device, sends replies. */
import assert from 'node:assert/strict';
import type { Stream } from '../core/index.ts';
import { type Answer, type Device, FUA } from '../device/index.ts';
import { Admission } from './admission.ts';
import type { Agreement, Shared } from './agreement.ts';
import { queryStatuses } from './block-status.ts';
import {
  COMMAND_BLOCK_STATUS,
  COMMAND_CACHE,
  COMMAND_DISCONNECT,
  COMMAND_FLUSH,
  COMMAND_READ,
  COMMAND_WRITE,
  FLAG_FUA,
} from './constants.ts';
import { changeDevice } from './device-change.ts';
import { errorNumber } from './error-numbers.ts';
import type { Job, JobOwner } from './jobs.ts';
import { looped } from './looped.ts';
import type { RangeLock } from './range-lock.ts';
import { Replies } from './replies.ts';
import { STYLE_EXTENDED } from './reply-codec.ts';
import { ADMIT, HANG_UP, type Request, RequestDecoder, type RequestSink } from './request-codec.ts';
import { isChange, refusal } from './request-rules.ts';
import type { Slab } from './slabs.ts';

const nothing = new Uint8Array(0);

export class Transmission implements RequestSink, JobOwner {
  readonly #stream: Stream;
  readonly #shared: Shared;
  readonly #agreement: Agreement;
  readonly #device: Device;
  readonly #lock: RangeLock;
  readonly #replies: Replies;
  readonly #admission: Admission;
  readonly #decoder: RequestDecoder;
  readonly #finished = Promise.withResolvers<void>();
  /** Sending may set memory free at once: a loop, as the rest may be long. */
  readonly #goOn = looped(() => this.#feedRest());
  #jobs = 0;
  /** That the last input made whole. */
  #requests = 0;
  #receivingBytes = 0; // Of a payload of which the rest is still to come.
  /** Input that must wait until something is free; the stream is paused meanwhile. */
  #rest: Uint8Array | undefined;
  #isEnding = false;
  #isClosed = false;
  #flushIsDue = false;
  /** The client said goodbye in the proper way. */
  wasDisconnected = false;
  /** Came in, or was taken by the kernel: who holds memory must see to it that it grows. */
  progressBytes = 0;

  constructor(stream: Stream, shared: Shared, agreement: Agreement) {
    this.#stream = stream;
    this.#shared = shared;
    this.#agreement = agreement;
    this.#device = agreement.opened.shared.device;
    this.#lock = agreement.opened.shared.lock;
    this.#replies = new Replies(stream, shared, agreement.style, (sentBytes) => {
      this.progressBytes += sentBytes;
      this.#goOn();
    });
    const contexts = agreement.contexts.length;
    this.#admission = new Admission(this.#replies, shared, contexts, this.#goOn);
    this.#decoder = new RequestDecoder(agreement.style === STYLE_EXTENDED, shared.slabs, this);
  }

  /** Resolves when nothing more is taken and the device has answered everything. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Waits for the peer: in mid-request, or with replies that it does not read. */
  get waitsForPeer(): boolean {
    return this.#decoder.isMidway || !this.#replies.outbox.isEmpty;
  }

  /** Memory that others may be waiting for. */
  get heldBytes(): number {
    return this.#replies.heldBytes;
  }

  onBytes(view: Uint8Array): void {
    this.progressBytes += view.byteLength;
    if (this.#isEnding) return;
    this.#requests = 0;
    if (this.#rest !== undefined) {
      this.#rest = Uint8Array.from(Buffer.concat([this.#rest, view]));
      return;
    }
    const usedBytes = this.#decoder.feed(view);
    if (this.#isEnding) this.#rest = undefined;
    else if (usedBytes < view.byteLength || this.#decoder.isParked) {
      this.#rest = view.slice(usedBytes);
      this.#stream.pause();
    }
    const { outbox } = this.#replies;
    outbox.flush();
    // Several requests at once leave the peer something to do until the next ones: no need to wait.
    const isIdle = this.#jobs === 0 && outbox.isEmpty && !this.#isEnding;
    if (isIdle && this.#requests === 1) this.#stream.expectMore?.();
    this.#checkFinished();
  }

  onDrained(): void {
    this.#replies.outbox.drained();
    this.#goOn();
  }

  /** The peer sends no more: what has come in whole is still answered. */
  onEnd(): void {
    this.stop();
  }

  onClosed(): void {
    this.#isClosed = true;
    this.#replies.outbox.close();
    this.stop();
  }

  /** Takes no more; `finished` follows when the device has answered what it has. */
  stop(): void {
    this.#isEnding = true;
    this.#rest = undefined;
    this.#shared.budget.forget(this.#goOn);
    this.#decoder.stop();
    this.#releaseReceiving();
    this.#checkFinished();
  }

  admit(request: Request, payloadBytes: number): number {
    if (this.#isEnding) return HANG_UP;
    const verdict = this.#admission.verdict(request, payloadBytes, this.#jobs);
    if (verdict === HANG_UP) this.stop();
    if (verdict !== ADMIT) return verdict;
    this.#receivingBytes = payloadBytes;
    if (payloadBytes > 0) this.#replies.hold(payloadBytes);
    return ADMIT;
  }

  onRequest(request: Request, payload: Uint8Array | undefined, slab: Slab | undefined): void {
    this.#receivingBytes = 0;
    this.#requests += 1;
    const error = refusal(request, payload, this.#device, this.#agreement);
    if (error !== 0) {
      if (slab !== undefined) this.#shared.slabs.release(slab);
      if (payload !== undefined) this.#replies.release(payload.byteLength);
      this.#replies.error(request, error);
      return;
    }
    if (request.command === COMMAND_READ) this.#read(request);
    else if (request.command === COMMAND_WRITE) this.#write(request, payload ?? nothing, slab);
    else if (request.command === COMMAND_DISCONNECT) {
      this.wasDisconnected = true;
      this.stop();
    } else {
      const changes = isChange(request.command);
      if (changes) this.#admission.countEffect(request.lengthBytes);
      else if (request.command === COMMAND_BLOCK_STATUS) this.#admission.beginStatus();
      this.#enqueue(this.#job(request, changes));
    }
  }

  onBadMagic(): void {
    this.stop();
  }

  #read(request: Request): void {
    const { offsetBytes, lengthBytes } = request;
    if (lengthBytes === 0) {
      this.#replies.emptyRead(request);
      return;
    }
    if (!this.#lock.isFree(offsetBytes, lengthBytes, false)) {
      this.#replies.hold(this.#replies.readHeaderBytes + lengthBytes);
      this.#enqueue(this.#job(request, false));
      return;
    }
    const claimedBytes = this.#replies.readHeaderBytes + lengthBytes;
    const slab = this.#replies.claim(claimedBytes);
    const start = slab.usedBytes - claimedBytes;
    const data = start + this.#replies.readHeaderBytes;
    let answer: Answer;
    try {
      answer = this.#device.read(slab.bytes.subarray(data, data + lengthBytes), offsetBytes);
    } catch (error) {
      this.#replies.errorIn(request, slab, start, claimedBytes, errorNumber(error));
      return;
    }
    if (answer instanceof Promise) {
      const job = this.#job(request, false);
      job.slab = slab;
      job.start = start;
      this.#await(job, answer);
      return;
    }
    this.#replies.read(request, slab, start);
  }

  #write(request: Request, payload: Uint8Array, slab: Slab | undefined): void {
    const { offsetBytes, lengthBytes } = request;
    const isFree = this.#lock.isFree(offsetBytes, lengthBytes, true);
    if (slab === undefined && !(isFree && this.#device.settlesAtOnce === true)) {
      if (isFree && this.#wroteAtOnce(request, payload)) return;
      // The input buffer is not ours for longer than this call.
      slab = this.#shared.slabs.takeWhole(lengthBytes);
      slab.bytes.set(payload);
      payload = slab.bytes.subarray(0, lengthBytes);
    }
    if (!isFree) {
      this.#enqueue(this.#writeJob(request, payload, slab));
      return;
    }
    let answer: Answer | undefined;
    let error = 0;
    try {
      const flags = (request.flags & FLAG_FUA) !== 0 ? FUA : 0;
      answer = this.#device.write(payload, offsetBytes, flags);
    } catch (thrown) {
      error = errorNumber(thrown);
    }
    if (answer instanceof Promise) {
      assert(slab !== undefined, `${this.#device.name} said that it settles at once`);
      this.#await(this.#writeJob(request, payload, slab), answer);
      return;
    }
    if (slab !== undefined) this.#shared.slabs.release(slab);
    this.#replies.release(lengthBytes);
    if (error !== 0) this.#replies.error(request, error);
    else this.#replies.done(request);
  }

  /** Straight out of the input buffer, without a copy, where the device can. */
  #wroteAtOnce(request: Request, payload: Uint8Array): boolean {
    if (this.#device.writeAtOnce === undefined || (request.flags & FLAG_FUA) !== 0) return false;
    let error = 0;
    try {
      if (!this.#device.writeAtOnce(payload, request.offsetBytes)) return false;
    } catch (thrown) {
      error = errorNumber(thrown);
    }
    this.#replies.release(request.lengthBytes);
    if (error !== 0) this.#replies.error(request, error);
    else this.#replies.done(request);
    return true;
  }

  // Everything that is not answered at once

  #job(request: Request, writes: boolean): Job {
    const job = this.#shared.jobs.take(this, request);
    job.writes = writes;
    this.#jobs += 1;
    return job;
  }

  #writeJob(request: Request, payload: Uint8Array, slab: Slab | undefined): Job {
    const job = this.#job(request, true);
    job.slab = slab;
    job.payload = payload;
    return job;
  }

  /** The device has been called already. */
  #await(job: Job, answer: Promise<void>): void {
    job.isLocked = true;
    this.#lock.enter(job);
    answer.then(job.ok, job.fail);
  }

  /** Calls the device now, or when what overlaps has settled. */
  #enqueue(job: Job): void {
    // Advice holds up nobody's write.
    if (job.command === COMMAND_FLUSH || job.command === COMMAND_CACHE) {
      this.proceed(job);
      return;
    }
    job.isLocked = true;
    if (this.#lock.enter(job)) this.proceed(job);
  }

  proceed(job: Job): void {
    let answer: Answer<unknown>;
    try {
      answer = this.#isClosed && !isChange(job.command) ? undefined : this.#call(job);
    } catch (error) {
      this.settled(job, error ?? new Error('failed'));
      return;
    }
    if (answer instanceof Promise) answer.then(job.ok, job.fail);
    else this.settled(job, undefined);
  }

  #call(job: Job): Answer<unknown> {
    switch (job.command) {
      case COMMAND_READ:
        return this.#readInto(job);
      case COMMAND_BLOCK_STATUS:
        return queryStatuses(this.#agreement.contexts, job).then((statuses) => {
          if (!this.#isClosed) this.#replies.statuses(job, statuses);
        });
      default:
        return changeDevice(this.#device, job);
    }
  }

  /** Reads to where the reply's data belong; the room has been held since the job was queued. */
  #readInto(job: Job): Answer {
    const { offsetBytes, lengthBytes } = job;
    const claimedBytes = this.#replies.readHeaderBytes + lengthBytes;
    const slab = this.#replies.outbox.claim(claimedBytes);
    job.slab = slab;
    job.start = slab.usedBytes - claimedBytes;
    const data = job.start + this.#replies.readHeaderBytes;
    return this.#device.read(slab.bytes.subarray(data, data + lengthBytes), offsetBytes);
  }

  settled(job: Job, error: unknown): void {
    this.#jobs -= 1;
    const number = error === undefined ? 0 : errorNumber(error);
    if (job.command === COMMAND_READ && job.slab !== undefined) this.#settleRead(job, number);
    else {
      if (job.command === COMMAND_WRITE) {
        if (job.slab !== undefined) this.#shared.slabs.release(job.slab);
        this.#replies.release(job.lengthBytes);
      }
      if (job.command === COMMAND_READ)
        this.#replies.release(this.#replies.readHeaderBytes + job.lengthBytes);
      if (job.command === COMMAND_BLOCK_STATUS) this.#admission.endStatus();
      if (!this.#isClosed) {
        if (number !== 0) this.#replies.error(job, number);
        else if (job.command !== COMMAND_BLOCK_STATUS) this.#replies.done(job);
      }
    }
    if (job.isLocked) this.#lock.leave(job);
    this.#shared.jobs.giveBack(job);
    this.#scheduleFlush();
  }

  #settleRead(job: Job, number: number): void {
    if (number === 0) {
      this.#replies.read(job, job.slab!, job.start);
      return;
    }
    const claimedBytes = this.#replies.readHeaderBytes + job.lengthBytes;
    this.#replies.errorIn(job, job.slab!, job.start, claimedBytes, number);
  }

  // Flow

  /** Answers that come in one turn of the event loop leave in one system call. */
  #scheduleFlush(): void {
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    queueMicrotask(() => {
      this.#flushIsDue = false;
      this.#replies.outbox.flush();
      this.#goOn();
      this.#checkFinished();
    });
  }

  #feedRest(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    this.#rest = undefined;
    const usedBytes = this.#decoder.feed(rest);
    if (this.#isEnding) this.#replies.outbox.flush();
    else if (usedBytes < rest.byteLength || this.#decoder.isParked) {
      this.#rest = rest.subarray(usedBytes);
    } else this.#stream.resume();
    this.#replies.outbox.flush();
    this.#checkFinished();
  }

  #releaseReceiving(): void {
    const lengthBytes = this.#receivingBytes;
    this.#receivingBytes = 0;
    this.#replies.release(lengthBytes);
  }

  #checkFinished(): void {
    if (this.#isEnding && this.#jobs === 0) {
      this.#replies.outbox.flush();
      this.#finished.resolve();
    }
  }
}
