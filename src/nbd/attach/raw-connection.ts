/** A connection for the kernel: the handshake is ours, then a bare socket is handed over. */
import type { Env, Kernel, Stream, StreamHandlers } from '../../core/index.ts';
import type { Securing } from '../client-connection.ts';
import { agree, type Terms } from '../client-handshake.ts';
import { TRANSMISSION_HAS_FLAGS } from '../constants.ts';
import { NbdError } from '../errors.ts';
import { closedEarly, Inbound } from '../inbound.ts';
import { CONNECT_TIMEOUT_MS } from '../limits.ts';
import { STYLE_SIMPLE } from '../reply-codec.ts';
import type { NbdUri } from '../uri.ts';
import { relay } from './relay.ts';

/** `descriptor` is the caller's to close. */
export type RawConnection = { readonly descriptor: number; readonly terms: Terms };

/**
 * Without TLS it is the server's own socket. With it, one end of a pair: this process carries what
 * goes through it, until either side ends.
 */
export async function connectRaw(
  env: Env,
  kernel: Kernel,
  uri: NbdUri,
  securing: Securing,
): Promise<RawConnection> {
  let stream = await env.net.connect(uri.address, CONNECT_TIMEOUT_MS);
  const inbound = new Inbound(stream);
  let listening: StreamHandlers = talking(stream, inbound);
  const handlers: StreamHandlers = {
    onBytes: (view) => listening.onBytes(view),
    onDrained: () => listening.onDrained(),
    onEnd: () => listening.onEnd(),
    onClosed: (error) => listening.onClosed(error),
  };
  stream.start(handlers);
  const secure =
    securing &&
    (async () => {
      stream = await securing(stream);
      inbound.moveTo(stream);
      stream.start(handlers);
      return stream;
    });
  const limit = env.clock.after(CONNECT_TIMEOUT_MS, () => {
    const message = `${stream.peer}: no agreement in ${CONNECT_TIMEOUT_MS} ms`;
    inbound.fail(new NbdError('NBD_TIMEOUT', message, { hint: 'Look at the server.' }));
  });
  try {
    // The driver understands simple replies only, and so there are no contexts.
    const wishes = { exportName: uri.exportName, contexts: [], styleMax: STYLE_SIMPLE };
    const terms = await agree(stream, inbound, wishes, secure);
    if (inbound.waitingBytes > 0 || (terms.flags & TRANSMISSION_HAS_FLAGS) === 0) {
      throw new NbdError('NBD_PROTOCOL', `${stream.peer} does not keep to the handshake`, {
        hint: 'The server is faulty.',
      });
    }
    if (securing === undefined) return { descriptor: kernel.takeSocket(stream), terms };
    const pair = kernel.openSocketPair('the NBD driver of the kernel');
    listening = relay(env.clock, pair.stream, stream);
    return { descriptor: pair.descriptor, terms };
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    limit.cancel();
  }
}

function talking(stream: Stream, inbound: Inbound): StreamHandlers {
  return {
    onBytes: (view) => inbound.onBytes(view),
    onDrained: () => {},
    onEnd: () => inbound.fail(closedEarly(stream.peer)),
    onClosed: (error) => inbound.fail(error ?? closedEarly(stream.peer)),
  };
}
