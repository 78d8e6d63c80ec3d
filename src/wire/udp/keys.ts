/** Keys of a UDP lane, out of the TLS connection that is its control lane; never stored. */
import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
import { SHA256_BYTES, sha256 } from '../../core/index.ts';
import { WireError } from '../errors.ts';
import { getU32 } from '../header.ts';
import { DATAGRAM_BYTES_MAX, TAG_BYTES } from './packets.ts';

const LABEL = 'EXPORTER-blockferry-udp-1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
export const SEAL_BYTES = 16;
/** A hash's block; what HMAC pads its key to (RFC 2104). */
const BLOCK_BYTES = 64;

/** Which side sends with a key: the one that dialled, or the one that was dialled. */
export const FROM_DIALLER = 0;
export const FROM_HOST = 1;

export type ExportKey = (lengthBytes: number, label: string, context: Uint8Array) => Uint8Array;

export type LaneKeys = { readonly seal: FrameSeal; readonly tag: Tagger };

/** The token makes them those of one lane, the direction those of one side of it. */
export function laneKeys(exportKey: ExportKey, token: Uint8Array, direction: number): LaneKeys {
  const context = new Uint8Array(token.byteLength + 1);
  context.set(token);
  context[token.byteLength] = direction;
  const material = exportKey(2 * KEY_BYTES, LABEL, context);
  return {
    seal: new FrameSeal(material.slice(0, KEY_BYTES)),
    tag: tagger(material.slice(KEY_BYTES)),
  };
}

/** What packets of a lane begin with, so that its keys are found. */
export function laneNumberOf(token: Uint8Array): number {
  return getU32(sha256(token), 0);
}

/** AES-256-GCM over whole frames; the frame's number, which never repeats, is the nonce. */
export class FrameSeal {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** Writes the sealed parts to the start of `target`, and answers their length. */
  seal(number: number, parts: readonly Uint8Array[], target: Uint8Array): number {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(number));
    let at = 0;
    for (const part of parts) {
      const sealed = cipher.update(part);
      target.set(sealed, at);
      at += sealed.byteLength;
    }
    cipher.final();
    target.set(cipher.getAuthTag(), at);
    return at + SEAL_BYTES;
  }

  open(number: number, sealed: Uint8Array): Uint8Array {
    const end = sealed.byteLength - SEAL_BYTES;
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonceOf(number));
    decipher.setAuthTag(sealed.subarray(end));
    const opened = decipher.update(sealed.subarray(0, end));
    try {
      decipher.final();
    } catch (cause) {
      throw new WireError('WIRE_FORMAT', `frame ${number} of a UDP lane is not as it was sealed`, {
        hint: 'The peer is faulty.',
        cause,
      });
    }
    return opened;
  }
}

function nonceOf(number: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  new DataView(nonce.buffer).setUint32(NONCE_BYTES - 4, number);
  return nonce;
}

export interface Tagger {
  /** Writes the tag of `[0, end)` behind it. */
  put(packet: Uint8Array, end: number): void;
  /** Whether the last bytes are the tag of those before. */
  check(packet: Uint8Array): boolean;
}

/**
 * HMAC-SHA-256 by two one-shot hashes over memory that is used again: a sixth of the time of an
 * HMAC object or a cipher per packet.
 */
export function tagger(key: Uint8Array): Tagger {
  const inner = new Uint8Array(BLOCK_BYTES + DATAGRAM_BYTES_MAX).fill(0x36, 0, BLOCK_BYTES);
  const outer = new Uint8Array(BLOCK_BYTES + SHA256_BYTES).fill(0x5c, 0, BLOCK_BYTES);
  for (const [at, byte] of key.entries()) {
    inner[at]! ^= byte;
    outer[at]! ^= byte;
  }
  const views = new Map<number, Uint8Array>();
  const mac = (packet: Uint8Array, end: number): Uint8Array => {
    inner.set(packet.byteLength === end ? packet : packet.subarray(0, end), BLOCK_BYTES);
    let view = views.get(end);
    if (view === undefined) {
      view = inner.subarray(0, BLOCK_BYTES + end);
      views.set(end, view);
    }
    outer.set(sha256(view), BLOCK_BYTES);
    return sha256(outer);
  };
  return {
    put(packet, end) {
      const tag = mac(packet, end);
      for (let at = 0; at < TAG_BYTES; at += 1) packet[end + at] = tag[at]!;
    },
    check(packet) {
      const end = packet.byteLength - TAG_BYTES;
      if (end < 1 || packet.byteLength > DATAGRAM_BYTES_MAX) return false;
      return timingSafeEqual(mac(packet, end).subarray(0, TAG_BYTES), packet.subarray(end));
    },
  };
}
