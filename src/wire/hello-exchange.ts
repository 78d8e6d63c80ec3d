/** The hellos of both sides: made, compared, and waited for, before there is a session. */
import type { Clock, SecureStream, Stream } from '../core/index.ts';
import type { BufferPool } from './buffers.ts';
import {
  closedError,
  limitError,
  protocolError,
  remoteError,
  timeoutError,
  WireError,
} from './errors.ts';
import type { Header } from './header.ts';
import * as limits from './limits.ts';
import { MessageStream, type Receiver } from './message-stream.ts';
import * as m from './messages/index.ts';

/** Versions of the protocol that this program speaks. */
export const VERSION_MIN = 1;
export const VERSION_MAX = 1;

/** A connection over TLS, or one that is trusted as it is. */
export type MaybeSecure = Stream & Partial<Pick<SecureStream, 'peerCertificate' | 'exportKey'>>;

/** What both sides can do beyond the bare protocol. */
export const CAPABILITIES: readonly string[] = ['lanes', 'udp', 'zstd', m.PLACES, m.BLOCKS];

export type HelloFields = {
  readonly sessionToken: Uint8Array;
  readonly received: m.Received;
  readonly firstNumber: number;
  readonly capabilities?: readonly string[] | undefined;
  readonly required?: readonly string[] | undefined;
  readonly pairingToken?: Uint8Array | undefined;
};

export function makeHello({ pairingToken, ...fields }: HelloFields): m.Hello {
  return {
    ...fields,
    versionMin: VERSION_MIN,
    versionMax: VERSION_MAX,
    bodyBytesMax: limits.BODY_BYTES_MAX,
    creditBytes: limits.CREDIT_BYTES_INITIAL,
    lanesMax: limits.LANES_MAX,
    heartbeatMs: limits.HEARTBEAT_MS,
    capabilities: [...CAPABILITIES, ...(fields.capabilities ?? [])],
    required: fields.required ?? [],
    ...(pairingToken !== undefined && { pairingToken }),
  };
}

/** The peer's hello, if both sides can go on with each other; a WireError otherwise. */
export function readHello(body: Uint8Array, ownCapabilities: readonly string[] = []): m.Hello {
  const hello = m.decodeHello(body, (min, max) => {
    if (min <= VERSION_MAX && max >= VERSION_MIN) return;
    throw new WireError(
      'WIRE_VERSION',
      `the peer speaks versions ${min} to ${max}, this side ${VERSION_MIN} to ${VERSION_MAX}`,
      { hint: 'Update the older of the two sides.' },
    );
  });
  const own = new Set([...CAPABILITIES, ...ownCapabilities]);
  const missing = hello.required.filter((name) => !own.has(name));
  if (missing.length > 0) {
    throw new WireError('WIRE_UNSUPPORTED', `the peer requires ${missing.join(', ')}`, {
      hint: 'Update this side, or let the peer do without.',
    });
  }
  if (hello.bodyBytesMax < limits.HELLO_BYTES_MAX || hello.creditBytes < hello.bodyBytesMax) {
    throw limitError('the peer takes bodies or gives credit that are too small to work with');
  }
  if (hello.heartbeatMs > limits.HEARTBEAT_MS_MAX) {
    throw limitError(`the peer would say something every ${hello.heartbeatMs} ms only`);
  }
  return hello;
}

export type First = {
  readonly messages: MessageStream;
  readonly type: number;
  readonly body: Uint8Array;
};

export type ExchangeOptions = {
  readonly clock: Clock;
  readonly pool: BufferPool;
  /** Said at once. */
  readonly say?: { readonly type: number; readonly body: Uint8Array };
  /** Which messages may come first. */
  readonly expected: readonly number[];
  /** Called with the message, before another one is looked at; sets who hears the next. */
  onFirst(first: First): void;
  /** Called instead, once. */
  onFailed(error: unknown): void;
};

/** Waits for the first message, no longer than HELLO_TIMEOUT_MS. */
export function exchange(stream: Stream, options: ExchangeOptions): MessageStream {
  const { clock, pool, say, expected } = options;
  let isOver = false;
  const over = (): boolean => {
    timer.cancel();
    const isFirst = !isOver;
    isOver = true;
    return isFirst;
  };
  const receiver: Receiver = {
    admit({ type, bodyBytes, sequence }: Header) {
      if (isOver) throw protocolError(`${m.nameOfType(type)} before its turn`);
      if (bodyBytes > limits.HELLO_BYTES_MAX) throw limitError(`a hello of ${bodyBytes} bytes`);
      const isExpected = expected.includes(type) || type === m.ERROR;
      if (!isExpected || sequence !== 0) throw protocolError(`${m.nameOfType(type)} as a hello`);
      return false;
    },
    onMessage({ type }, body) {
      if (!over()) return;
      if (type === m.ERROR) {
        options.onFailed(remoteError(m.decodeError(body)));
        messages.destroy();
      } else options.onFirst({ messages, type, body });
    },
    onRoom() {},
    onClosed(error) {
      if (over()) options.onFailed(error ?? closedError());
    },
  };
  const messages = new MessageStream(stream, { clock, pool, receiver });
  const timer = clock.after(limits.HELLO_TIMEOUT_MS, () => {
    messages.fail(timeoutError(`no hello within ${limits.HELLO_TIMEOUT_MS} ms`));
  });
  if (say !== undefined) messages.send(say.type, 0, say.body);
  return messages;
}
