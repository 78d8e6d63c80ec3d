/** Requests as the kernel lays them out, for tests. */
import {
  OP_FALLOCATE,
  OP_INIT,
  OP_LOOKUP,
  OP_LSEEK,
  OP_READ,
  OP_READDIR,
  OP_WRITE,
} from './fuse-constants.ts';

export type Wish = {
  readonly opcode: number;
  readonly node?: number;
  readonly uniqueLow?: number;
  readonly uniqueHigh?: number;
  readonly offsetBytes?: number | bigint;
  readonly lengthBytes?: number;
  readonly flags?: number;
  readonly name?: string;
  readonly payload?: Uint8Array;
  readonly minor?: number;
};

export function requestBytes(wish: Wish): Buffer {
  const body = bodyOf(wish);
  const bytes = Buffer.alloc(40 + body.byteLength);
  bytes.writeUInt32LE(bytes.byteLength, 0);
  bytes.writeUInt32LE(wish.opcode, 4);
  bytes.writeUInt32LE(wish.uniqueLow ?? 1, 8);
  bytes.writeUInt32LE(wish.uniqueHigh ?? 0, 12);
  bytes.writeBigUInt64LE(BigInt(wish.node ?? 1), 16);
  bytes.set(body, 40);
  return bytes;
}

function bodyOf(wish: Wish): Buffer {
  const { opcode, offsetBytes = 0, lengthBytes = 0, flags = 0 } = wish;
  const body = Buffer.alloc(40);
  body.writeBigUInt64LE(BigInt(offsetBytes), 8);
  switch (opcode) {
    case OP_INIT: {
      const init = Buffer.alloc(64);
      init.writeUInt32LE(7, 0);
      init.writeUInt32LE(wish.minor ?? 31, 4);
      init.writeUInt32LE(flags, 12);
      return init;
    }
    case OP_LOOKUP:
      return Buffer.from(`${wish.name ?? 'disk'}\0`);
    case OP_READ:
    case OP_READDIR:
    case OP_WRITE:
      body.writeUInt32LE(lengthBytes, 16);
      return opcode === OP_WRITE ? Buffer.concat([body, wish.payload ?? Buffer.alloc(0)]) : body;
    case OP_FALLOCATE:
      body.writeBigUInt64LE(BigInt(lengthBytes), 16);
      body.writeUInt32LE(flags, 24);
      return body.subarray(0, 32);
    case OP_LSEEK:
      body.writeUInt32LE(flags, 16);
      return body.subarray(0, 24);
    default:
      body.writeUInt32LE(flags, 0);
      return body;
  }
}
