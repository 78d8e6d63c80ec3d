/** One example of each message, for golden bytes, cuts, mutations and fuzzing. */
import * as m from './index.ts';

export type Example = {
  readonly type: number;
  readonly value: unknown;
  readonly encode: () => Uint8Array;
  readonly decode: (body: Uint8Array) => unknown;
};

function example<T>(
  type: number,
  encode: (value: T) => Uint8Array | readonly Uint8Array[],
  decode: (body: Uint8Array) => T,
  value: T,
): Example {
  const whole = () => {
    const parts = encode(value);
    return parts instanceof Uint8Array ? parts : Uint8Array.from(Buffer.concat(parts));
  };
  return { type, value, encode: whole, decode };
}

const count = (lengthBytes: number, from: number) =>
  Uint8Array.from({ length: lengthBytes }, (_, at) => from + at);
const hash = count(32, 0xa0);
const plain = { hash: undefined, blockClass: 0, importance: 0 };
const received = { cumulative: 300, later: Uint8Array.of(0x05, 0x80) };
const move = { volume: 2, authority: 7, epoch: 1_000, digest: hash };

export const examples: readonly Example[] = [
  example(m.HELLO, m.encodeHello, m.decodeHello, {
    ...{ versionMin: 1, versionMax: 3, sessionToken: count(16, 1), received, firstNumber: 40 },
    ...{ bodyBytesMax: 2 ** 21, creditBytes: 2 ** 22, lanesMax: 16, heartbeatMs: 5_000 },
    ...{ capabilities: ['udp', 'zstd'], required: ['zstd'], pairingToken: count(32, 0x40) },
  }),
  example(m.HEARTBEAT, m.encodeHeartbeat, m.decodeHeartbeat, {
    ...{ timeUs: 1_000_000, echoUs: 999_000, heldUs: 17, backlogBytes: 2 ** 40 },
    lanes: 'udp: 9 MB/s',
  }),
  example(m.ACK, m.encodeAck, m.decodeAck, {
    received,
    credits: [
      { laneId: 0, limitBytes: 2 ** 33 },
      { laneId: 3, limitBytes: 5 },
    ],
  }),
  example(m.ERROR, m.encodeError, m.decodeError, {
    ...{ code: 'STORE_NO_SPACE', text: 'the disk is full', isFatal: true, sequence: 129 },
    volume: 300,
  }),
  example(m.GOODBYE, m.encodeGoodbye, m.decodeGoodbye, { reason: 'update', againAfterMs: 30_000 }),
  example(m.LANE_OFFER, m.encodeLaneOffer, m.decodeLaneOffer, {
    ...{ laneId: 2, kind: m.LANE_UDP, token: count(32, 0x20), port: 7_007 },
  }),
  example(m.LANE_JOIN, m.encodeLaneJoin, m.decodeLaneJoin, {
    ...{ sessionToken: count(16, 1), laneId: 2, token: count(32, 0x20) },
  }),
  example(m.LANE_CLOSE, m.encodeLaneClose, m.decodeLaneClose, { laneId: 300 }),
  example(m.METADATA, m.encodeMetadata, m.decodeMetadata, {
    ...{ volume: 2, epoch: 9 },
    facts: [
      m.nameFact('db'),
      m.geometryFact({ sizeBytes: 2 ** 40, blockBytes: 4096, chunkBytes: 65_536 }),
      m.changesFact([{ offsetBytes: 4096, lengthBytes: 8192 }]),
    ],
  }),
  example(m.BLOCK_DATA, m.encodeBlockData, m.decodeBlockData, {
    ...{ volume: 2, epoch: 9, request: 4, frame: count(5, 0xf0) },
    entries: [
      { ...plain, kind: m.KIND_DATA, offsetBytes: 0, lengthBytes: 65_536, hash },
      { ...plain, kind: m.KIND_PATCH, offsetBytes: 65_536, lengthBytes: 65_536, hash },
      { ...plain, kind: m.KIND_ZERO, offsetBytes: 2 ** 41, lengthBytes: 2 ** 30 },
      {
        ...{ kind: m.KIND_RUN, offsetBytes: 4096, lengthBytes: 512, hash },
        ...{ blockClass: 3, importance: 200 },
      },
      {
        ...{ ...plain, kind: m.KIND_PLACED_PATCH, offsetBytes: 8192, lengthBytes: 4096, hash },
        places: [
          { offsetBytes: 2 ** 34, lengthBytes: 65_536, isNew: false },
          { offsetBytes: 65_536, lengthBytes: 4096, isNew: true },
        ],
      },
    ],
  }),
  example(m.BLOCK_REFERENCE, m.encodeBlockReference, m.decodeBlockReference, {
    ...{ volume: 2, epoch: 9, request: 0 },
    references: [
      { offsetBytes: 65_536, lengthBytes: 65_536, hash },
      { offsetBytes: 2 ** 33, lengthBytes: 4096, hash },
    ],
  }),
  example(m.OFFER, m.encodeOffer, m.decodeOffer, { offer: 5, volume: 2, hashes: hash }),
  example(m.NEED, m.encodeNeed, m.decodeNeed, {
    ...{ offer: 5, count: 11, wanted: Uint8Array.of(0x81, 0x04) },
  }),
  example(m.READ, m.encodeRead, m.decodeRead, {
    ...{ request: 4, volume: 2, epoch: 0, offsetBytes: 2 ** 45, lengthBytes: 4096, priority: 0 },
  }),
  example(m.EPOCH_CUT, m.encodeEpochCut, m.decodeEpochCut, {
    ...{ volume: 2, epoch: 9, base: 8, authority: 7, group: 0 },
    ...{ wallMs: 1_700_000_000_000, changedBytes: 123_456, mark: 'ab:7' },
  }),
  example(m.EPOCH_COMMIT, m.encodeEpochCommit, m.decodeEpochCommit, {
    ...{ volume: 2, epoch: 9, messageCount: 3, recordCount: 400, digest: hash },
  }),
  example(m.AUTHORITY_PREPARE, m.encodeAuthorityPrepare, m.decodeAuthorityPrepare, move),
  example(m.AUTHORITY_COMMIT, m.encodeAuthorityCommit, m.decodeAuthorityCommit, move),
  example(m.AUTHORITY_ABORT, m.encodeAuthorityAbort, m.decodeAuthorityAbort, {
    ...{ volume: 2, authority: 7, reason: 'the digests differ' },
  }),
];
