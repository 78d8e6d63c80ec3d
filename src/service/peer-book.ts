/** Peer book: the nodes that are known here, by the fingerprints of their certificates. */
import {
  type Env,
  fromHex,
  isHex,
  readStateFile,
  replaceStateFile,
  type StateFolder,
  sha256,
  toHex,
  withStateLock,
} from '../core/index.ts';
import { ServiceError } from './errors.ts';
import { type Grant, isGrant } from './grant.ts';

export type Peer = {
  /** SHA-256 of its certificate, hexadecimal; of its name if an authority stands behind it. */
  readonly fingerprint: string;
  readonly name: string;
  /** Agents send to this node; providers take from it. */
  readonly role: 'agent' | 'provider';
  /** Of a provider: HOST:PORT. */
  readonly address: string | null;
  /** When they were paired, for people. */
  readonly since: string;
  /** Of an agent: what it may do here. */
  readonly grant?: Grant;
  /** It comes with any certificate for its name. */
  readonly isVouchedFor?: true;
  /** It is not let in, though its authority stands behind it. */
  readonly isRevoked?: true;
};

const NAME = 'peers.json';
const BYTES_MAX = 4 * 1024 * 1024;
export const PEERS_MAX = 10_000;

export class PeerBook {
  readonly #env: Env;
  readonly #folder: StateFolder;

  constructor(env: Env, folder: StateFolder) {
    this.#env = env;
    this.#folder = folder;
  }

  /** As it is now: another process may have changed it. */
  async peers(role?: Peer['role']): Promise<readonly Peer[]> {
    const bytes = await readStateFile(this.#env, this.#path, BYTES_MAX);
    const all = bytes === undefined ? [] : this.#decoded(bytes);
    return role === undefined ? all : all.filter((peer) => peer.role === role);
  }

  /** In the order of `peers(role)`. */
  async pins(role: Peer['role']): Promise<readonly Uint8Array[]> {
    return (await this.peers(role)).map(({ fingerprint }) => fromHex(fingerprint, 32)!);
  }

  /**
   * Replaces what was known by that fingerprint in that role, and a provider at that address; an
   * agent that is paired once more keeps its grant, unless it gets another one.
   */
  async add(
    peer: Omit<Peer, 'since' | 'fingerprint'> & { fingerprint: Uint8Array },
  ): Promise<Peer> {
    const since = new Date(this.#env.clock.wallMs()).toISOString();
    let added: Peer = { ...peer, fingerprint: toHex(peer.fingerprint), since };
    await this.#change((peers) => {
      const others = peers.filter((one) => !replaces(added, one));
      const grant = peer.grant ?? peers.find((one) => isSame(added, one))?.grant;
      if (grant !== undefined) added = { ...added, grant };
      if (others.length < PEERS_MAX) return [...others, added];
      throw new ServiceError('SERVICE_STATE', `${PEERS_MAX} peers are known already`, {
        hint: 'Revoke some (`ferry peers --revoke`).',
      });
    });
    return added;
  }

  /** An agent that an authority stands behind is known before it comes; answers its fingerprint. */
  async expect(name: string): Promise<string> {
    const fingerprint = toHex(vouchedFingerprint(name));
    const isIt = (peer: Peer) => peer.role === 'agent' && peer.fingerprint === fingerprint;
    const known = await this.peers('agent');
    if (!known.some(isIt)) {
      const peer = { role: 'agent', name, address: null, isVouchedFor: true } as const;
      await this.add({ ...peer, fingerprint: vouchedFingerprint(name) });
    }
    return fingerprint;
  }

  /** Changes what an agent may do, and lets it in again. SERVICE_UNKNOWN_PEER. */
  async grant(which: string, change: (before: Grant) => Grant): Promise<Peer> {
    let changed: Peer | undefined;
    await this.#change((peers) => {
      const found = peers.filter((peer) => peer.role === 'agent' && isNamed(peer, which));
      if (found.length === 0) throw unknownPeer(which);
      if (found.length > 1) throw severalPeers(which, found);
      const before = found[0]!;
      const { isRevoked, ...others } = before;
      changed = { ...others, grant: change(before.grant ?? {}) };
      return peers.map((peer) => (peer === before ? changed! : peer));
    });
    return changed!;
  }

  /** By name or the beginning of the fingerprint; answers who it was. SERVICE_UNKNOWN_PEER. */
  async revoke(which: string): Promise<readonly Peer[]> {
    const isIt = (peer: Peer) => isNamed(peer, which);
    let gone: readonly Peer[] = [];
    await this.#change((peers) => {
      gone = peers.filter(isIt);
      // Forgotten, the others would be let in once more by their authority.
      return peers.flatMap((peer) => {
        if (!isIt(peer)) return [peer];
        return peer.isVouchedFor ? [{ ...peer, isRevoked: true as const }] : [];
      });
    });
    if (gone.length > 0) return gone;
    throw unknownPeer(which);
  }

  get #path(): string {
    return `${this.#folder.directory}/${NAME}`;
  }

  async #change(change: (peers: readonly Peer[]) => readonly Peer[]): Promise<void> {
    await withStateLock(this.#env, this.#folder, async () => {
      const peers = change(await this.peers());
      const text = `${JSON.stringify({ version: 1, peers }, undefined, 1)}\n`;
      await replaceStateFile(this.#env, this.#path, new TextEncoder().encode(text));
    });
  }

  #decoded(bytes: Uint8Array): readonly Peer[] {
    try {
      const { version, peers } = JSON.parse(new TextDecoder().decode(bytes));
      if (version !== 1 || !Array.isArray(peers) || !peers.every(isPeer)) throw new TypeError();
      return peers;
    } catch (cause) {
      throw new ServiceError('SERVICE_STATE', `${this.#path} cannot be read`, {
        hint: 'Put it back, or remove it and pair with the peers again.',
        cause,
      });
    }
  }
}

/** By which an agent is known that comes with any certificate for its name. */
export function vouchedFingerprint(name: string): Uint8Array {
  return sha256(new TextEncoder().encode(`name:${name}`));
}

/** What a certificate calls its node; `DNS:` is how TLS tells names from addresses. */
export function nodeName(names: readonly string[], otherwise: string): string {
  return names[0]?.replace(/^DNS:/, '') ?? otherwise;
}

function isNamed({ name, fingerprint }: Peer, which: string): boolean {
  return name === which || (which.length >= 8 && fingerprint.startsWith(which.toLowerCase()));
}

function unknownPeer(which: string): ServiceError {
  return new ServiceError('SERVICE_UNKNOWN_PEER', `${which} is no peer of this node`, {
    hint: 'See `ferry peers`; give its name or eight digits of its fingerprint.',
  });
}

function severalPeers(which: string, found: readonly Peer[]): ServiceError {
  const digits = found.map(({ fingerprint }) => fingerprint.slice(0, 16)).join(', ');
  return new ServiceError('SERVICE_UNKNOWN_PEER', `${which} may be any of ${digits}`, {
    hint: 'Give digits of the fingerprint.',
  });
}

function isSame(added: Peer, other: Peer): boolean {
  return added.role === other.role && added.fingerprint === other.fingerprint;
}

function replaces(added: Peer, other: Peer): boolean {
  if (added.role !== other.role) return false;
  const isSamePlace = added.address !== null && added.address === other.address;
  return isSame(added, other) || isSamePlace;
}

function isPeer(value: unknown): value is Peer {
  const { fingerprint, name, role, address, grant, ...marks } = value as Record<string, unknown>;
  const isKnown = typeof fingerprint === 'string' && isHex(fingerprint, 32);
  const isPlaced = address === null || typeof address === 'string';
  if (grant !== undefined && !isGrant(grant)) return false;
  // Anything else in their place would let in who was revoked.
  const { isVouchedFor = true, isRevoked = true } = marks;
  if (isVouchedFor !== true || isRevoked !== true) return false;
  return (
    isKnown && typeof name === 'string' && isPlaced && (role === 'agent' || role === 'provider')
  );
}
