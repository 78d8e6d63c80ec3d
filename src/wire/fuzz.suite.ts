/** What the fuzzer needs from inside: recordings of both sides, and packets with genuine tags. */
import { Draws, simulatedEnv } from '../../sim/index.ts';
import { type DatagramAddress, type Stream, sha256 } from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import type { Lane, LaneOwner } from './lane.ts';
import { BLOCK_DATA } from './messages/index.ts';
import { type RecordedChunk, readRecording, recorded } from './recording.ts';
import { until, withPair } from './session.suite.ts';
import { FROM_DIALLER, FROM_HOST, laneKeys } from './udp/keys.ts';
import * as packets from './udp/packets.ts';
import { UdpLane } from './udp/udp-lane.ts';

/** A short session as one side saw it. */
export async function recordSession(side: 'host' | 'dialler'): Promise<RecordedChunk[]> {
  const parts: Uint8Array[] = [];
  const tap = (stream: Stream, clock: Parameters<typeof recorded>[1]['clock']) =>
    recorded(stream, { clock, append: (part) => void parts.push(part.slice()), bytesMax: 1e7 });
  const taps = side === 'host' ? { tapHost: tap } : { tapDialler: tap };
  await withPair(taps, async ({ world, client, server }) => {
    for (const session of [client, server]) {
      for (const size of [1, 300, 20_000]) {
        session.send({ type: BLOCK_DATA, parts: [new Uint8Array(size).fill(size)], priority: 2 });
      }
    }
    await until(world, () => client.isIdle && server.isIdle);
  });
  return readRecording(Uint8Array.from(Buffer.concat(parts)));
}

const LANE = 77;
const from: DatagramAddress = { host: '10.0.0.9', port: 9 };

/** A peer that has the keys, and says anything: the lane may end, and nothing worse. */
export function udpTrial(seed: number): void {
  const draws = new Draws(seed, 34);
  const world = simulatedEnv(seed);
  const exportKey = (lengthBytes: number, _label: string, context: Uint8Array) => {
    const key = sha256(context);
    return Uint8Array.from([...key, ...key]).subarray(0, lengthBytes);
  };
  const token = new Uint8Array(32);
  const peerKeys = laneKeys(exportKey, token, FROM_DIALLER);
  let isGone = false;
  const lane = new UdpLane({
    ...{ id: 1, lane: LANE, clock: world.env.clock, random: world.env.random },
    ...{ pool: new BufferPool(), owner: sink(() => isGone) },
    sendKeys: laneKeys(exportKey, token, FROM_HOST),
    receiveKeys: peerKeys,
    transmit() {},
    onProven() {},
    onGone() {
      isGone = true;
    },
  });
  for (let number = 1; number < 60 && !isGone; number += 1) {
    const packet = randomPacket(draws, number, peerKeys);
    lane.onDatagram(packet, draws.chance(0.9) ? from : { host: '6.6.6.6', port: number });
    if (draws.chance(0.3)) lane.onBatchEnd();
  }
  lane.destroy();
}

function randomPacket(draws: Draws, number: number, keys: ReturnType<typeof laneKeys>): Uint8Array {
  const lengthBytes = 22 + draws.below(draws.pick([8, 40, packets.DATAGRAM_BYTES_MAX - 22]));
  const packet = new Uint8Array(lengthBytes);
  draws.fill(packet);
  const kind = draws.pick([1, 1, 1, 2, 2, 3, 4, draws.below(256)]);
  packets.putPacketHeader(packet, kind, LANE, draws.chance(0.9) ? number : draws.below(2 ** 32));
  if (kind === packets.KIND_PIECE && draws.chance(0.8) && lengthBytes > packets.PIECE_AT + 12) {
    const offset = draws.pick([0, packets.PIECE_BYTES, draws.below(2 ** 24)]);
    const left = lengthBytes - packets.PIECE_AT - packets.TAG_BYTES;
    const frameBytes = draws.pick([left, offset + left, 40, draws.below(2 ** 24)]);
    packets.putPieceHeader(packet, 1 + draws.below(draws.pick([3, 100_000])), frameBytes, offset);
  }
  keys.tag.put(packet, lengthBytes - packets.TAG_BYTES);
  return packet;
}

function sink(isGone: () => boolean): LaneOwner {
  return {
    nextNotice: () => undefined,
    nextMessage: () => undefined,
    admit: () => true,
    onMessage() {
      if (isGone()) throw new Error('a message of a lane that is gone');
    },
    onLaneReady(_lane: Lane) {},
    onLaneClosed(_lane: Lane) {},
  };
}
