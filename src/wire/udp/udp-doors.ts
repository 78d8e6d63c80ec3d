/** Both ends of opening a UDP lane: the host's one socket for all, the dialler's own for each. */
import type { Clock, DatagramAddress, DatagramSocket, Net, Random } from '../../core/index.ts';
import type { BufferPool } from '../buffers.ts';
import { closedError } from '../errors.ts';
import * as m from '../messages/index.ts';
import type { Session } from '../session.ts';
import { type ExportKey, FROM_DIALLER, FROM_HOST, laneKeys, laneNumberOf } from './keys.ts';
import { laneOfPacket, PACKET_HEADER_BYTES, TAG_BYTES } from './packets.ts';
import { UdpLane } from './udp-lane.ts';

/** RFC 8085, section 3.1: what bursts need; the 208 KiB of most systems lose packets. */
export const DATAGRAM_BUFFER_BYTES = 4 * 1024 * 1024;

const PACKET_BYTES_MIN = PACKET_HEADER_BYTES + TAG_BYTES + 1;

export type UdpEnv = { readonly clock: Clock; readonly random: Random; readonly net: Net };

/** Datagrams of all lanes of a host come in by one port. */
export class UdpHost {
  readonly #env: UdpEnv;
  readonly #pool: BufferPool;
  readonly #lanes = new Map<number, UdpLane>();
  readonly #touched = new Set<UdpLane>();
  #socket: DatagramSocket | undefined;
  /** Datagrams that belong to no lane; nobody answers them. */
  strayPackets = 0;

  constructor(env: UdpEnv, pool: BufferPool) {
    this.#env = env;
    this.#pool = pool;
  }

  get address(): DatagramAddress | undefined {
    return this.#socket?.address;
  }

  get laneCount(): number {
    return this.#lanes.size;
  }

  async listen(host: string, port: number): Promise<void> {
    this.#socket = await this.#env.net.openDatagrams(
      { host, port, bufferBytes: DATAGRAM_BUFFER_BYTES },
      {
        onDatagram: (view, from) => this.#onDatagram(view, from),
        onBatchEnd: () => {
          for (const lane of this.#touched) lane.onBatchEnd();
          this.#touched.clear();
        },
        onClosed: () => {},
      },
    );
  }

  /** Lets the session's peer open a lane; it is part of the session once its first packet came. */
  offer(session: Session, laneId: number, exportKey: ExportKey): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    const token = new Uint8Array(m.LANE_TOKEN_BYTES);
    do this.#env.random.fill(token);
    while (this.#lanes.has(laneNumberOf(token)));
    const number = laneNumberOf(token);
    const lane = new UdpLane({
      ...{ id: laneId, lane: number, pool: this.#pool, owner: session },
      ...{ clock: this.#env.clock, random: this.#env.random },
      sendKeys: laneKeys(exportKey, token, FROM_HOST),
      receiveKeys: laneKeys(exportKey, token, FROM_DIALLER),
      transmit: (datagrams, count, to) => void socket.send(datagrams, count, to),
      onProven: () => session.onLaneReady(lane),
      onGone: () => {
        if (this.#lanes.get(number) === lane) this.#lanes.delete(number);
      },
    });
    session.addLane(lane);
    this.#lanes.set(number, lane);
    const { port } = socket.address;
    session.notify(m.LANE_OFFER, m.encodeLaneOffer({ laneId, kind: m.LANE_UDP, token, port }));
  }

  close(): void {
    for (const lane of this.#lanes.values()) lane.destroy();
    this.#socket?.close();
  }

  #onDatagram(view: Uint8Array, from: DatagramAddress): void {
    const lane =
      view.byteLength < PACKET_BYTES_MIN ? undefined : this.#lanes.get(laneOfPacket(view));
    if (lane === undefined) {
      this.strayPackets += 1;
      return;
    }
    lane.onDatagram(view, from);
    this.#touched.add(lane);
  }
}

export type OpenUdpOptions = {
  readonly env: UdpEnv;
  readonly pool: BufferPool;
  readonly session: Session;
  readonly offer: m.LaneOffer;
  readonly exportKey: ExportKey;
  /** The host's address, in numbers. */
  readonly host: string;
  readonly onProven?: () => void;
};

/** The dialling side; the lane becomes ready once the host has answered, or goes. */
export async function openUdpLane(options: OpenUdpOptions): Promise<UdpLane> {
  const { env, pool, session, offer, exportKey, host } = options;
  const socket = await env.net.openDatagrams(
    {
      host: host.includes(':') ? '::' : '0.0.0.0',
      ...{ port: 0, bufferBytes: DATAGRAM_BUFFER_BYTES },
    },
    {
      onDatagram(view, from) {
        if (view.byteLength >= PACKET_BYTES_MIN) lane.onDatagram(view, from);
      },
      onBatchEnd: () => lane.onBatchEnd(),
      onClosed() {},
    },
  );
  if (session.state !== 'open') {
    // Nobody would close it any more, and the process would not end.
    socket.close();
    throw closedError();
  }
  const lane = new UdpLane({
    ...{ id: offer.laneId, lane: laneNumberOf(offer.token), pool, owner: session },
    ...{ clock: env.clock, random: env.random },
    sendKeys: laneKeys(exportKey, offer.token, FROM_DIALLER),
    receiveKeys: laneKeys(exportKey, offer.token, FROM_HOST),
    transmit: (datagrams, count, to) => void socket.send(datagrams, count, to),
    onProven: () => {
      options.onProven?.();
      session.onLaneReady(lane);
    },
    onGone: () => socket.close(),
  });
  session.addLane(lane);
  lane.open({ host, port: offer.port });
  return lane;
}
