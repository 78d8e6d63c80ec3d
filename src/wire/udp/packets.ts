/** Packets of the UDP lane: their layout, in plain numbers; docs/protocol.md has it too. */
import { getU24, getU32, putU24, putU32 } from '../header.ts';

/** Never longer, on any path: RFC 8085, section 3.2, and RFC 9000, section 14. */
export const DATAGRAM_BYTES_MAX = 1_200;

/** Kind, lane, number. */
export const PACKET_HEADER_BYTES = 9;
/** HMAC-SHA-256, cut: RFC 2104, section 5, wants half of it for long-lived keys; these are not. */
export const TAG_BYTES = 12;

/** A piece of a sealed frame. */
export const KIND_PIECE = 1;
/** Which packets have come. */
export const KIND_ACK = 2;
/** Eight bytes, and zeroes up to the largest size; asks for the same ones as a PONG. */
export const KIND_PING = 3;
export const KIND_PONG = 4;

/** Frame's number, its length, where the piece belongs. */
const PIECE_HEADER_BYTES = 10;
export const PIECE_AT = PACKET_HEADER_BYTES + PIECE_HEADER_BYTES;
/** Every piece of a frame but its last one is this long. */
export const PIECE_BYTES = DATAGRAM_BYTES_MAX - PIECE_AT - TAG_BYTES;
export const PING_BYTES = 8;

export function putPacketHeader(
  bytes: Uint8Array,
  kind: number,
  lane: number,
  number: number,
): void {
  bytes[0] = kind;
  putU32(bytes, 1, lane);
  putU32(bytes, 5, number);
}

export function laneOfPacket(bytes: Uint8Array): number {
  return getU32(bytes, 1);
}

export function numberOfPacket(bytes: Uint8Array): number {
  return getU32(bytes, 5);
}

export function putPieceHeader(
  bytes: Uint8Array,
  frame: number,
  frameBytes: number,
  offset: number,
): void {
  putU32(bytes, PACKET_HEADER_BYTES, frame);
  putU24(bytes, PACKET_HEADER_BYTES + 4, frameBytes);
  putU24(bytes, PACKET_HEADER_BYTES + 7, offset);
}

export function frameOfPiece(bytes: Uint8Array): number {
  return getU32(bytes, PACKET_HEADER_BYTES);
}

export function frameBytesOfPiece(bytes: Uint8Array): number {
  return getU24(bytes, PACKET_HEADER_BYTES + 4);
}

export function offsetOfPiece(bytes: Uint8Array): number {
  return getU24(bytes, PACKET_HEADER_BYTES + 7);
}
