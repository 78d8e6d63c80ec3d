/** HELLO: the first message of either side; versions, capabilities, limits, what to resume. */
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding, limitError } from '../errors.ts';
import { BODY_BYTES_MAX, CAPABILITIES_MAX, CAPABILITY_BYTES_MAX, LANES_MAX } from '../limits.ts';
import { type Extension, getExtensions, putExtensions, TAG_MANDATORY } from './extensions.ts';
import { getReceived, putReceived, type Received } from './ranges.ts';
import { getText, putText } from './text.ts';

/** `FRRY`, little-endian: whoever is not spoken to by a ferry notices at once. */
const MAGIC = 0x59525246;
export const SESSION_TOKEN_BYTES = 16;
export const PAIRING_TOKEN_BYTES = 32;
const TAG_PAIRING = TAG_MANDATORY | 1;
const known = new Set([TAG_PAIRING]);

export type Hello = {
  /** The range of versions that this side speaks; a server answers with the chosen one twice. */
  readonly versionMin: number;
  readonly versionMax: number;
  /** Of the session to resume, or that has been given; all zero asks for a new one. */
  readonly sessionToken: Uint8Array;
  /** What this side has of the peer's numbered messages. */
  readonly received: Received;
  /** The lowest number that this side may still send; the peer need not wait for those below. */
  readonly firstNumber: number;
  /** The longest body that this side takes. */
  readonly bodyBytesMax: number;
  /** Bytes of numbered messages that each lane may send before the first ACK. */
  readonly creditBytes: number;
  readonly lanesMax: number;
  /** This side says something at least this often. */
  readonly heartbeatMs: number;
  /** What this side can do, by name. */
  readonly capabilities: readonly string[];
  /** Those among them without which it does not go on. */
  readonly required: readonly string[];
  /** Shown once, to be known from then on (`ferry pair`). */
  readonly pairingToken?: Uint8Array;
};

export function encodeHello(hello: Hello): Uint8Array {
  const writer = new ByteWriter();
  writer.u32(MAGIC);
  writer.u16(hello.versionMin);
  writer.u16(hello.versionMax);
  writer.put(hello.sessionToken);
  putReceived(writer, hello.received);
  writer.varint(hello.firstNumber);
  writer.varint(hello.bodyBytesMax);
  writer.varint(hello.creditBytes);
  writer.varint(hello.lanesMax);
  writer.varint(hello.heartbeatMs);
  putNames(writer, hello.capabilities);
  putNames(writer, hello.required);
  const extensions: Extension[] = [];
  if (hello.pairingToken !== undefined) {
    extensions.push({ tag: TAG_PAIRING, bytes: hello.pairingToken });
  }
  putExtensions(writer, extensions);
  return writer.view();
}

/**
 * The magic and the versions come first, and are all that is read if no version fits: what follows
 * may be laid out otherwise then. `speaks` throws in that case.
 */
export function decodeHello(
  body: Uint8Array,
  speaks: (min: number, max: number) => void = () => {},
): Hello {
  return decoding('HELLO', () => {
    const reader = new ByteReader(body);
    if (reader.u32() !== MAGIC) throw new FormatError('no ferry speaks here');
    const versionMin = reader.u16();
    const versionMax = reader.u16();
    if (versionMin > versionMax) throw new FormatError('its range of versions is empty');
    speaks(versionMin, versionMax);
    const sessionToken = reader.take(SESSION_TOKEN_BYTES).slice();
    const { cumulative, later } = getReceived(reader);
    const limits = {
      firstNumber: reader.varint(),
      bodyBytesMax: reader.count(2 ** 32 - 1, 'the longest body'),
      creditBytes: reader.varint(),
      lanesMax: reader.count(2 ** 16, 'the number of lanes'),
      heartbeatMs: reader.count(2 ** 31, 'the time between heartbeats'),
    };
    const capabilities = getNames(reader);
    const required = getNames(reader);
    const extensions = getExtensions(reader, 'HELLO', known);
    reader.end();
    const pairing = extensions.find(({ tag }) => tag === TAG_PAIRING)?.bytes;
    if (pairing !== undefined && pairing.byteLength !== PAIRING_TOKEN_BYTES) {
      throw new FormatError('its pairing token has a wrong length');
    }
    return {
      ...{ versionMin, versionMax, sessionToken, ...limits, capabilities, required },
      received: { cumulative, later: later.slice() },
      // A peer that takes more than we ever send is as good as one that takes just that.
      bodyBytesMax: Math.min(limits.bodyBytesMax, BODY_BYTES_MAX),
      lanesMax: Math.min(limits.lanesMax, LANES_MAX),
      ...(pairing !== undefined && { pairingToken: pairing.slice() }),
    };
  });
}

function putNames(writer: ByteWriter, names: readonly string[]): void {
  if (names.length > CAPABILITIES_MAX) throw limitError(`${names.length} capabilities`);
  writer.varint(names.length);
  for (const name of names) putText(writer, name, CAPABILITY_BYTES_MAX);
}

function getNames(reader: ByteReader): string[] {
  const count = reader.count(CAPABILITIES_MAX, 'the number of capabilities');
  return Array.from({ length: count }, () => getText(reader, CAPABILITY_BYTES_MAX, 'a capability'));
}
