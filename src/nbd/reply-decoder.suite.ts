/** The decoder of replies against a model of what an honest or a lying server sent, per seed. */
import assert from 'node:assert/strict';
import { Draws } from '../../sim/index.ts';
import { putU16, putU32, putU64 } from './big-endian.ts';
import { ReplyDecoder, type ReplySink } from './client-reply.ts';
import {
  CHUNK_DONE,
  CHUNK_ERROR,
  CHUNK_NONE,
  CHUNK_OFFSET_DATA,
  CHUNK_OFFSET_HOLE,
  COMMAND_FLUSH,
  COMMAND_READ,
} from './constants.ts';
import { NbdError } from './errors.ts';
import { Operation } from './operation.ts';
import { putChunk, putSimple, replyHeaderBytes, STYLE_SIMPLE } from './reply-codec.ts';
import { emptyRequest, type Request } from './request-codec.ts';

/** Around each target: whoever writes there writes where nothing was asked for. */
const GUARD_BYTES = 16;
const GUARD = 0xee;

type Asked = {
  readonly request: Request;
  readonly operation: Operation;
  readonly whole: Uint8Array;
  /** What the target must hold in the end, and which error is told. */
  readonly expected: Uint8Array;
  readonly error: number;
  /** Its chunks, to be sent in this order. */
  readonly pieces: Uint8Array[];
};

/** One session of interleaved answers in random pieces; answers how many steps it took. */
export function replyDecoderSession(seed: number): number {
  const draws = new Draws(seed, 12);
  const style = draws.below(3);
  const asked = Array.from({ length: 1 + draws.below(8) }, (_, index) => ask(draws, style, index));
  const bytes = interleaved(asked, draws);
  const isLying = draws.chance(0.5);
  if (isLying) spoil(bytes, draws);
  const completed = new Set<Operation>();
  const sink: ReplySink = {
    find: (_, low) => asked.find(({ request }) => request.cookieLow === low)?.operation,
    onComplete(operation) {
      if (!isLying) assert.equal(completed.has(operation), false, 'completed twice');
      completed.add(operation);
    },
  };
  const steps = feedAll(new ReplyDecoder(style, sink), bytes, draws, isLying);
  for (const one of asked) {
    const guards = [...one.whole.subarray(0, GUARD_BYTES), ...one.whole.subarray(-GUARD_BYTES)];
    assert.ok(
      guards.every((byte) => byte === GUARD),
      'bytes outside of the target were written',
    );
    if (isLying) continue;
    assert.ok(completed.has(one.operation), 'an answer was not noticed');
    assert.equal(one.operation.error, one.error);
    if (one.error === 0) assert.deepEqual(one.operation.target, one.expected);
  }
  return steps;
}

function feedAll(decoder: ReplyDecoder, bytes: Uint8Array, draws: Draws, isLying: boolean): number {
  const longest = draws.pick([1, 7, 40, 1000, 100_000]);
  let steps = 0;
  for (let at = 0; at < bytes.byteLength; steps += 1) {
    const view = bytes.slice(at, at + 1 + draws.below(longest));
    at += view.byteLength;
    try {
      decoder.feed(view);
    } catch (error) {
      if (isLying && error instanceof NbdError && error.code === 'NBD_PROTOCOL') return steps + 1;
      throw error;
    }
    view.fill(0xdb);
  }
  return steps;
}

function ask(draws: Draws, style: number, index: number): Asked {
  const isRead = draws.chance(0.8);
  const lengthBytes = isRead ? 1 + draws.below(draws.pick([1, 100, 5000])) : 0;
  const whole = new Uint8Array(lengthBytes + 2 * GUARD_BYTES).fill(GUARD);
  const target = whole.subarray(GUARD_BYTES, GUARD_BYTES + lengthBytes);
  const command = isRead ? COMMAND_READ : COMMAND_FLUSH;
  const offsetBytes = isRead ? draws.below(2 ** 52) : 0;
  const request = { ...emptyRequest(), command, offsetBytes, lengthBytes, cookieLow: index + 1 };
  const operation = new Operation({ command, flags: 0, offsetBytes, lengthBytes, target });
  const expected = new Uint8Array(lengthBytes);
  draws.fill(expected);
  const error = draws.chance(0.2) ? draws.pick([1, 5, 22, 28, 999]) : 0;
  const pieces =
    style === STYLE_SIMPLE
      ? [simple(request, error, expected)]
      : chunks(request, error, expected, style, draws);
  return { request, operation, whole, expected, error, pieces };
}

function simple(request: Request, error: number, content: Uint8Array): Uint8Array {
  const header = new Uint8Array(16);
  putSimple(header, 0, request, error);
  return error === 0 ? joined(header, content) : header;
}

/** The content as data and holes in any order, an error in the place of some, an end by itself. */
function chunks(
  request: Request,
  error: number,
  content: Uint8Array,
  style: number,
  draws: Draws,
): Uint8Array[] {
  const list: { type: number; payload: Uint8Array }[] = [];
  for (let at = 0; at < content.byteLength; ) {
    const end = Math.min(content.byteLength, at + 1 + draws.below(draws.pick([10, 5000])));
    const part = content.subarray(at, end);
    if (draws.chance(0.3)) part.fill(0);
    list.push(piece(request.offsetBytes + at, part));
    at = end;
  }
  // Now and then out of order: servers may.
  if (draws.chance(0.3)) list.reverse();
  if (error !== 0) {
    list.splice(draws.below(list.length + 1), draws.below(3));
    list.splice(draws.below(list.length + 1), 0, { type: CHUNK_ERROR, payload: failure(error) });
  }
  if (list.length === 0 || draws.chance(0.3))
    list.push({ type: CHUNK_NONE, payload: new Uint8Array() });
  return list.map(({ type, payload }, index) => {
    const flags = index === list.length - 1 ? CHUNK_DONE : 0;
    const header = new Uint8Array(64);
    putChunk(header, 0, request, style, flags, type, payload.byteLength);
    const magic = new DataView(header.buffer).getUint32(0);
    return joined(header.subarray(0, replyHeaderBytes(magic, style)), payload);
  });
}

function piece(offsetBytes: number, part: Uint8Array): { type: number; payload: Uint8Array } {
  const isHole = part.every((byte) => byte === 0);
  const head = new Uint8Array(isHole ? 12 : 8);
  putU64(head, 0, offsetBytes);
  if (isHole) putU32(head, 8, part.byteLength);
  return isHole
    ? { type: CHUNK_OFFSET_HOLE, payload: head }
    : { type: CHUNK_OFFSET_DATA, payload: joined(head, part) };
}

function failure(error: number): Uint8Array {
  const payload = new Uint8Array(6 + 4);
  putU32(payload, 0, error);
  putU16(payload, 4, 4);
  return payload;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

function interleaved(asked: readonly Asked[], draws: Draws): Uint8Array {
  const queues = asked.map(({ pieces }) => [...pieces]);
  const parts: Uint8Array[] = [];
  for (;;) {
    const left = queues.filter((queue) => queue.length > 0);
    if (left.length === 0) return joined(...parts);
    parts.push(draws.pick(left).shift()!);
  }
}

/** A server that lies: any bytes may differ. */
function spoil(bytes: Uint8Array, draws: Draws): void {
  for (let done = 1 + draws.below(4); done > 0; done -= 1) {
    bytes[draws.below(Math.min(bytes.byteLength, draws.pick([32, 200, 1e9])))] = draws.pick([
      0,
      1,
      255,
      draws.below(256),
    ]);
  }
}
