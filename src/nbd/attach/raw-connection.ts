/** A connection for the kernel: the handshake is ours, then the bare socket is handed over. */
import type { Env, Kernel } from '../../core/index.ts';
import { agree, type Terms } from '../client-handshake.ts';
import { TRANSMISSION_HAS_FLAGS } from '../constants.ts';
import { NbdError } from '../errors.ts';
import { closedEarly, Inbound } from '../inbound.ts';
import { CONNECT_TIMEOUT_MS } from '../limits.ts';
import { STYLE_SIMPLE } from '../reply-codec.ts';
import type { NbdUri } from '../uri.ts';

/** `descriptor` is the caller's to close. */
export type RawConnection = { readonly descriptor: number; readonly terms: Terms };

export async function connectRaw(env: Env, kernel: Kernel, uri: NbdUri): Promise<RawConnection> {
  const stream = await env.net.connect(uri.address, CONNECT_TIMEOUT_MS);
  const inbound = new Inbound(stream);
  stream.start({
    onBytes: (view) => inbound.onBytes(view),
    onDrained: () => {},
    onEnd: () => inbound.fail(closedEarly(stream.peer)),
    onClosed: (error) => inbound.fail(error ?? closedEarly(stream.peer)),
  });
  const limit = env.clock.after(CONNECT_TIMEOUT_MS, () => {
    const message = `${stream.peer}: no agreement in ${CONNECT_TIMEOUT_MS} ms`;
    inbound.fail(new NbdError('NBD_TIMEOUT', message, { hint: 'Look at the server.' }));
  });
  try {
    // The driver understands simple replies only, and so there are no contexts.
    const wishes = { exportName: uri.exportName, contexts: [], styleMax: STYLE_SIMPLE };
    const terms = await agree(stream, inbound, wishes, undefined);
    if (inbound.waitingBytes > 0 || (terms.flags & TRANSMISSION_HAS_FLAGS) === 0) {
      throw new NbdError('NBD_PROTOCOL', `${stream.peer} does not keep to the handshake`, {
        hint: 'The server is faulty.',
      });
    }
    return { descriptor: kernel.takeSocket(stream), terms };
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    limit.cancel();
  }
}
