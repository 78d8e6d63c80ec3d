/** UDP sockets of this host: by Node, with many datagrams per system call where that works. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type {
  DatagramAddress,
  DatagramHandlers,
  DatagramOptions,
  DatagramSocket,
} from '../datagrams.ts';
import { BATCH_MAX, type DatagramCalls, datagramCalls } from './datagram-calls.ts';
import { toEnvError } from './posix-error.ts';
import { fromSocketAddress, isSameAddress, toSocketAddress } from './socket-address.ts';

/** Batches read in one go before others get their turn. */
const BATCHES_MAX = 16;

type State = { handle?: { fd?: number } | null };

/** Node keeps the handle under a symbol of its own; without it datagrams go one by one. */
function descriptorOf(socket: Socket): number {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = symbol && (socket as unknown as Record<symbol, State>)[symbol];
  return state?.handle?.fd ?? -1;
}

/** Without `calls` Node sends and receives one by one. */
export async function openDatagrams(
  options: DatagramOptions,
  handlers: DatagramHandlers,
  calls: DatagramCalls | null = datagramCalls(),
): Promise<DatagramSocket> {
  const { host, port } = options;
  const socket = createSocket({
    type: isIPv6(host) ? 'udp6' : 'udp4',
    // Only numbers are passed, also by `send` below; Node would ask for each of them.
    lookup: (name, _options, done) => done(null, name, isIPv6(name) ? 6 : 4),
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.removeListener('error', reject);
      resolve();
    });
  }).catch((error: unknown) => {
    throw toEnvError(error, 'listen on', `${host}:${port} (UDP)`);
  });
  return new NodeDatagrams(socket, options, handlers, calls);
}

class NodeDatagrams implements DatagramSocket {
  readonly address: DatagramAddress;
  readonly receiveBufferBytes: number;
  readonly #socket: Socket;
  readonly #handlers: DatagramHandlers;
  readonly #calls: DatagramCalls | null;
  /** -1 if Node does not tell. */
  readonly descriptor: number;
  #isClosed = false;
  /** The last sender and receiver: looking them up anew would cost more than the datagram. */
  #fromName = new Uint8Array(28);
  #from: DatagramAddress = { host: '', port: 0 };
  #toName = new Uint8Array(0);
  #to: DatagramAddress | undefined;

  constructor(
    socket: Socket,
    { bufferBytes }: DatagramOptions,
    handlers: DatagramHandlers,
    calls: DatagramCalls | null,
  ) {
    this.#socket = socket;
    this.#handlers = handlers;
    const { address, port } = socket.address();
    this.address = { host: address, port };
    this.descriptor = descriptorOf(socket);
    this.#calls = this.descriptor < 0 ? null : calls;
    for (const set of ['setRecvBufferSize', 'setSendBufferSize'] as const) socket[set](bufferBytes);
    this.#calls?.forceBuffers(this.descriptor, bufferBytes);
    this.receiveBufferBytes = socket.getRecvBufferSize();
    socket.on('message', (bytes: Buffer, from: RemoteInfo) => this.#onMessage(bytes, from));
    // An unreachable peer is told so by ICMP; what is sent to it is lost, and no more.
    socket.on('error', () => {});
    socket.on('close', () => handlers.onClosed(undefined));
  }

  send(datagrams: readonly Uint8Array[], count: number, to: DatagramAddress): number {
    if (this.#isClosed) return 0;
    if (this.#calls === null) return this.#sendEach(datagrams, count, to);
    if (this.#to !== to) {
      this.#to = to;
      this.#toName = new Uint8Array(toSocketAddress(to));
    }
    let sent = 0;
    while (sent < count) {
      const taken = this.#calls.send(this.descriptor, datagrams, sent, count, this.#toName);
      if (taken <= 0) break;
      sent += taken;
    }
    return sent;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  #sendEach(datagrams: readonly Uint8Array[], count: number, to: DatagramAddress): number {
    for (let at = 0; at < count; at += 1) {
      // Node keeps the buffer until it is sent, whoever calls may use it again at once.
      this.#socket.send(datagrams[at]!.slice(), to.port, to.host, () => {});
    }
    return count;
  }

  /** The first datagram of many: Node reads one at a time, the rest is fetched in batches. */
  #onMessage(bytes: Buffer, { address, port }: RemoteInfo): void {
    if (this.#isClosed) return;
    const { host, port: lastPort } = this.#from;
    if (host !== address || lastPort !== port) {
      this.#from = { host: address, port };
      this.#fromName = new Uint8Array(toSocketAddress(this.#from));
    }
    this.#handlers.onDatagram(bytes, this.#from);
    for (let batch = 0; batch < BATCHES_MAX && this.#calls !== null; batch += 1) {
      if (this.#readBatch(this.#calls) < BATCH_MAX) break;
    }
    this.#handlers.onBatchEnd();
  }

  #readBatch(calls: DatagramCalls): number {
    if (this.#isClosed) return 0;
    const count = calls.receive(this.descriptor);
    for (let index = 0; index < count && !this.#isClosed; index += 1) {
      const name = calls.nameOf(index);
      if (!isSameAddress(name, this.#fromName)) {
        this.#fromName = name.slice();
        this.#from = fromSocketAddress(name);
      }
      this.#handlers.onDatagram(calls.slots[index]!.subarray(0, calls.lengthOf(index)), this.#from);
    }
    return count;
  }
}
