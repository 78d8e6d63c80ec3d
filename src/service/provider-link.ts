/** The agent's side of the link: pairs with a provider, and connects to one that is known. */
import { type Address, type Env, fromHex, type SecureStream, toHex } from '../core/index.ts';
import { Agent } from '../transfer/replicate/index.ts';
import {
  dialSession,
  dialTls,
  type LaneMode,
  type NodeIdentity,
  type SessionHandlers,
} from '../wire/index.ts';
import { ServiceError } from './errors.ts';
import { decodeInvitation } from './invitation.ts';
import { nodeName, type Peer, type PeerBook } from './peer-book.ts';

export type LinkOptions = {
  readonly address: Address;
  /** As a person wrote it: HOST:PORT. */
  readonly written: string;
  readonly identity: NodeIdentity;
  readonly peers: PeerBook;
  /** PEM: who stands behind providers, instead of pairing with them. */
  readonly authorities?: Uint8Array | undefined;
};

/** Further TLS connections, as far as the provider offers them. */
const STREAM_LANES = 4;

/** After it both sides know each other. SERVICE_TOKEN, and what the provider says. */
export async function pairWith(env: Env, options: LinkOptions, token: string): Promise<Peer> {
  const { address, written, identity, peers } = options;
  const { fingerprint, secret } = decodeInvitation(token);
  let shown: SecureStream['peerCertificate'];
  const { session } = await dialSession({
    ...{ env, identity: toHex(fingerprint), handlers: silent, pairingToken: secret },
    lane: 'control',
    dial: async () => {
      const stream = await dialTls(env, { address, identity, pins: [fingerprint] });
      shown = stream.peerCertificate;
      return stream;
    },
  });
  session.end('paired');
  const name = nodeName(shown?.names ?? [], written);
  return await peers.add({ role: 'provider', name, address: written, fingerprint });
}

/** A session with a provider that is known, or vouched for. SERVICE_UNKNOWN_PEER. */
export async function connectProvider(
  env: Env,
  options: LinkOptions & { readonly lane?: LaneMode },
): Promise<Agent> {
  const { address, written, identity, peers, authorities, lane } = options;
  const known = authorities ? undefined : await knownProvider(peers, written);
  const pins = known && { pins: [fromHex(known.fingerprint, 32)!] };
  return await Agent.connect(async (handlers) => {
    const { session } = await dialSession({
      ...{ env, identity: known?.fingerprint ?? written, handlers, streamLanes: STREAM_LANES },
      ...(lane !== undefined && { lane }),
      dial: () => dialTls(env, { address, identity, authorities, ...pins }),
    });
    return session;
  });
}

/** SERVICE_UNKNOWN_PEER. */
export async function knownProvider(peers: PeerBook, written: string): Promise<Peer> {
  const known = (await peers.peers('provider')).find((peer) => peer.address === written);
  if (known !== undefined) return known;
  throw new ServiceError('SERVICE_UNKNOWN_PEER', `${written} is not known here`, {
    hint: 'Run the line that `ferry serve` prints there, `ferry pair ...`, or use --ca.',
  });
}

const silent: SessionHandlers = {
  onMessage: (message) => message.done(),
  onClosed: () => undefined,
};
