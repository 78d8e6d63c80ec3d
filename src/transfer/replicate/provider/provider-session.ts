/** One agent's session at the provider: each message has its effect, or an error that is told. */

import { FerryError, SHA256_BYTES } from '../../../core/index.ts';
import {
  BLOCK_DATA,
  BLOCK_REFERENCE,
  decodeBlockData,
  decodeBlockReference,
  decodeEpochCommit,
  decodeEpochCut,
  decodeOffer,
  EPOCH_COMMIT,
  EPOCH_CUT,
  encodeNeed,
  type Incoming,
  METADATA,
  NEED,
  OFFER,
  PRIORITY_CONTROL,
  type SendOptions,
  type Session,
  type SessionHandlers,
} from '../../../wire/index.ts';
import { protocolBreach, ReplicateError, wentBack } from '../errors.ts';
import { SESSION_VOLUMES_MAX } from '../limits.ts';
import {
  decodeTold,
  encodeTold,
  type Request,
  refusalOf,
  type TellOptions,
  type Told,
  withoutPaths,
} from '../requests.ts';
import { AuthorityDesk } from './authority-desk.ts';
import { Bound } from './bound.ts';
import { hashesIn, hashesOf } from './hashes.ts';
import { checkMay } from './policy.ts';
import type { Provider } from './provider.ts';
import type { Replica } from './replica.ts';

type Answered = Pick<TellOptions, 'hashes' | 'changes'> & { readonly [field: string]: unknown };

/** Failures after which the replica's files must be read anew. */
const BROKEN = new Set(['REPLICATE_JOURNAL_FAILED', 'REPLICATE_JOURNAL']);

/** What ends an epoch, and not its session. */
const OF_THE_EPOCH = new Set([
  ...['REPLICATE_HASH', 'REPLICATE_UNKNOWN_CONTENT', 'REPLICATE_QUOTA', 'REPLICATE_JOURNAL_FULL'],
]);

export class ProviderSession implements SessionHandlers {
  readonly agent: string;
  readonly #provider: Provider;
  readonly #session: Session;
  readonly #bound = new Map<number, Bound>();
  readonly #desk: AuthorityDesk;
  readonly #waiting: SendOptions[] = [];
  readonly #waitingNeeds: Uint8Array[] = [];
  readonly #stop = new AbortController();
  #working = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #isOver = false;

  constructor(provider: Provider, session: Session, agent: string) {
    this.#provider = provider;
    this.#session = session;
    this.agent = agent;
    this.#desk = new AuthorityDesk({
      ...{ env: provider.env, promotions: provider.promotions },
      replicaOf: (volume) => this.#boundOf(volume).replica,
      send: (type, parts, priority) => this.#send({ type, parts, priority }),
    });
  }

  /** When something of its agent came last, on the monotonic clock. */
  get lastSeenMs(): number {
    return this.#session.heardAtMs;
  }

  onMessage(message: Incoming): void {
    this.#working += 1;
    this.#take(message)
      .catch((error: unknown) => this.#fail(message, error))
      .finally(() => {
        this.#working -= 1;
        if (this.#working === 0) this.#idle?.resolve();
      });
  }

  onRoom(): void {
    this.#flush();
  }

  /** What was said without a number may have been lost with the link. */
  onResumed(): void {
    for (const { refusal } of this.#bound.values()) {
      if (refusal !== undefined) this.#session.sendError(refusal);
    }
  }

  onClosed(): void {
    this.#isOver = true;
    this.#stop.abort();
    for (const { replica } of this.#bound.values()) this.#provider.promotions.ended(replica);
    this.#provider.ended(this);
    void this.#settled();
  }

  get isConnected(): boolean {
    return !this.#isOver && this.#session.state === 'open';
  }

  /** Has the agent stop, and offer the volume. */
  wishMove(replica: Replica): void {
    for (const [volume, bound] of this.#bound) {
      if (bound.replica === replica) this.#desk.wishMove(volume);
    }
  }

  /** The volume is written here from now on: the agent is told, and asked to come again. */
  async fence(replica: Replica): Promise<void> {
    this.#session.fail(replica.authority.fenced(replica.authority.state.authority - 1));
    await this.#settled();
  }

  /** Another session of the agent takes the volume over; nothing more is done for this one. */
  async leave(volume: string): Promise<void> {
    const name = `${volume} is taken over by another session of this agent`;
    const error = new ReplicateError('REPLICATE_TAKEN_OVER', name, {
      hint: 'One process replicates a volume; see which one runs.',
    });
    this.#session.fail(error);
    await this.#settled();
  }

  /** Settles when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#session.end('the provider stops');
    await this.#settled();
  }

  async #settled(): Promise<void> {
    this.#isOver = true;
    this.#stop.abort();
    if (this.#working > 0) {
      this.#idle ??= Promise.withResolvers();
      await this.#idle.promise;
    }
    await this.#desk[Symbol.asyncDispose]();
  }

  async #take(message: Incoming): Promise<void> {
    if (this.#isOver) return;
    if (message.type === METADATA) return await this.#onTold(message);
    if (message.type === OFFER) return await this.#onOffer(message);
    if (message.type === EPOCH_CUT) return await this.#onCut(message);
    if (message.type === BLOCK_DATA) {
      const data = decodeBlockData(message.body, message.checksum);
      const bound = this.#boundOf(data.volume);
      if (bound.isEarly(data.epoch, message)) return;
      if (!(await this.#mayTake(message))) return;
      await bound.replica.put(data, this.#stop.signal);
      await this.#taken(data.volume, message);
    } else if (message.type === BLOCK_REFERENCE) {
      const references = decodeBlockReference(message.body);
      const bound = this.#boundOf(references.volume);
      if (bound.isEarly(references.epoch, message)) return;
      if (!(await this.#mayTake(message))) return;
      await bound.replica.refer(references);
      await this.#taken(references.volume, message);
    } else if (message.type === EPOCH_COMMIT) return await this.#onCommit(message);
    else if (await this.#desk.take(message.type, message.body)) message.done();
    else throw protocolBreach(`a provider takes no messages of type ${message.type}`);
  }

  /** Waits for the agent's turn; what waits is bounded by its credit. */
  async #mayTake({ body }: Incoming): Promise<boolean> {
    const { signal } = this.#stop;
    await this.#provider.policy.admit(this.agent, body.byteLength, signal);
    return !signal.aborted;
  }

  /** It is durable; it may have been the last one that the commit waited for. */
  async #taken(volume: number, message: Incoming): Promise<void> {
    message.done();
    await this.#tryCommit(volume);
  }

  async #onTold(message: Incoming): Promise<void> {
    const told = decodeTold(message.body);
    message.done();
    const { json } = told;
    if (json.ask === undefined) throw protocolBreach('an answer that nobody asked for');
    const { request } = json;
    let answer: Pick<TellOptions, 'json' | 'hashes' | 'changes'>;
    try {
      const { hashes, changes, ...fields } = await this.#answer(told, json);
      answer = {
        json: { answer: request, ...fields },
        ...(hashes && { hashes }),
        ...(changes && { changes }),
      };
    } catch (error) {
      answer = { json: { answer: request, refusal: refusalOf(error) } };
      this.#provider.tell({ event: 'failed', volume: told.name, error });
    }
    const parts = [encodeTold({ volume: told.volume, ...answer })];
    this.#send({ type: METADATA, parts, priority: PRIORITY_CONTROL });
  }

  async #answer(told: Told, request: Request): Promise<Answered> {
    if (request.ask === 'open') return { ...(await this.#open(told, request)) };
    const { replica } = this.#boundOf(told.volume);
    const answered: Answered | undefined = await this.#desk.answer(told.volume, request);
    if (answered !== undefined) return answered;
    if (request.ask === 'snapshot') {
      const { id, digest, storedBytes } = await replica.assemble();
      return { ...{ snapshot: id, digest, storedBytes } };
    }
    if (request.ask === 'renew') {
      const error = wentBack(replica.volume, replica.epoch, request.epoch);
      await replica.inTurn(() => replica.hands.renew(request.epoch));
      this.#provider.tell({ event: 'failed', volume: replica.volume, error });
      return { replica: replica.id };
    }
    checkMay(this.#provider.policy, this.agent, 'read', replica.volume);
    if (request.ask !== 'hashes') throw protocolBreach(`a provider is asked for ${request.ask}`);
    const reversed = this.#desk.device(told.volume);
    if (reversed !== undefined) return { hashes: await hashesIn(reversed, request) };
    return { hashes: await hashesOf(replica, request) };
  }

  async #open(
    { volume, name, geometry }: Told,
    { authority, leaseMs, via, group }: Extract<Request, { ask: 'open' }>,
  ) {
    if (name === undefined || geometry === undefined) {
      throw protocolBreach('a volume is opened without name or geometry');
    }
    if (this.#bound.has(volume)) throw protocolBreach(`volume ${volume} is opened twice`);
    if (this.#bound.size >= SESSION_VOLUMES_MAX) {
      const message = `${SESSION_VOLUMES_MAX} volumes are open in this session`;
      throw new ReplicateError('REPLICATE_LIMIT', message, { hint: 'Use another session.' });
    }
    if (group !== undefined && !group.members.includes(name)) {
      throw protocolBreach(`${name} is opened with a group that it is not in`);
    }
    checkMay(this.#provider.policy, this.agent, 'write', name);
    const replica = await this.#provider.take(this, name, geometry.sizeBytes, via);
    await replica.greet(authority);
    await replica.authority.promiseLease(leaseMs);
    const bound = new Bound(replica, group);
    bound.checkOnce(this.#bound.values());
    this.#bound.set(volume, bound);
    const { id, epoch, seenEpoch, mark } = replica;
    const { promotion, authority: own } = replica.authority.state;
    return {
      ...{ replica: id, epoch, seenEpoch, isEmpty: replica.isEmpty, ...(mark && { mark }) },
      ...(replica.group && { group: replica.group }),
      ...{ authority: own, sizeBytes: replica.sizeBytes },
      ...(promotion && { promotedEpoch: promotion.epoch }),
    };
  }

  async #onOffer(message: Incoming): Promise<void> {
    const { offer, volume, hashes } = decodeOffer(message.body);
    const { replica } = this.#boundOf(volume);
    const count = hashes.byteLength / SHA256_BYTES;
    const list = Array.from({ length: count }, (_, at) =>
      hashes.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES),
    );
    const wanted = new Uint8Array(Math.ceil(count / 8));
    for (const [at, isKnown] of (await replica.knows(list)).entries()) {
      if (!isKnown) wanted[at >> 3]! |= 1 << (at & 7);
    }
    message.done();
    this.#waitingNeeds.push(encodeNeed({ offer, count, wanted }));
    this.#flush();
  }

  async #onCut(message: Incoming): Promise<void> {
    const cut = decodeEpochCut(message.body);
    const bound = this.#boundOf(cut.volume);
    if (cut.group !== (bound.group === undefined ? 0 : cut.epoch)) {
      throw protocolBreach(`epoch ${cut.epoch} is cut as number ${cut.group} of a group`);
    }
    await bound.replica.begin(cut);
    message.done();
    for (const early of bound.begun(cut.epoch)) this.onMessage(early);
  }

  async #onCommit(message: Incoming): Promise<void> {
    const commit = decodeEpochCommit(message.body);
    const bound = this.#boundOf(commit.volume);
    if (bound.isEarly(commit.epoch, message)) return;
    if (commit.epoch !== bound.epoch) {
      message.done();
      return;
    }
    bound.commit = message;
    await this.#tryCommit(commit.volume);
  }

  /** Acknowledged once the epoch is durable: that is what the agent waits for. */
  async #tryCommit(volume: number): Promise<void> {
    const all = this.#bound.get(volume)?.together(this.#bound.values());
    if (all === undefined || this.#isOver) return;
    const waiting = all.flatMap(({ commit }) => (commit === undefined ? [] : [commit]));
    if (waiting.length < all.length || all.some(({ refusal }) => refusal)) return;
    const commits = waiting.map(({ body }) => decodeEpochCommit(body));
    const isStill = (bound: Bound, at: number) => bound.commit === waiting[at];
    try {
      const parts = all.map(({ replica }, at) => ({ replica, commit: commits[at]! }));
      if (!(await this.#provider.commit(parts, all[0]!.group))) return;
    } catch (error) {
      this.#fail(waiting[0]!, error);
      return;
    }
    for (const [at, bound] of all.entries()) {
      if (!isStill(bound, at)) continue;
      bound.commit = undefined;
      waiting[at]!.done();
    }
  }

  #boundOf(volume: number): Bound {
    const bound = this.#bound.get(volume);
    if (bound === undefined) throw protocolBreach(`volume ${volume} was not opened`);
    return bound;
  }

  /** What does not fit ends the epoch, not the session; a broken protocol or disk ends that too. */
  #fail(message: Incoming, error: unknown): void {
    if (this.#isOver) return;
    if (!(error instanceof FerryError)) {
      this.#session.fail(error);
      this.#provider.tell({ event: 'failed', volume: undefined, error });
      return;
    }
    const { code } = error;
    if (OF_THE_EPOCH.has(code)) {
      const volume = volumeOf(message);
      const bound = this.#boundOf(volume);
      this.#provider.tell({ event: 'failed', volume: bound.replica.volume, error });
      const text = withoutPaths(error.message);
      bound.refusal = { code, text, sequence: message.sequence, volume };
      this.#session.sendError(bound.refusal);
      // Done would say that the epoch is committed.
      if (message.type !== EPOCH_COMMIT) message.done();
    } else this.#end(error);
  }

  #end(error: FerryError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { code, hint } = error;
    const replicas = [...this.#bound.values()].map(({ replica }) => replica);
    this.#session.fail(new FerryError(code, withoutPaths(error.message), { hint, cause: error }));
    for (const { volume } of replicas) {
      this.#provider.tell({ event: 'failed', volume, error });
      if (BROKEN.has(code)) this.#provider.drop(volume);
    }
  }

  #send(message: SendOptions): void {
    this.#waiting.push(message);
    this.#flush();
  }

  /** Requests are few, and offers bounded by what the agent may send: so are their answers. */
  #flush(): void {
    if (this.#session.state === 'closed') return;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#session.send(next)) return;
      this.#waiting.shift();
    }
    for (let body = this.#waitingNeeds[0]; body !== undefined; body = this.#waitingNeeds[0]) {
      const need = { type: NEED, parts: [body], priority: PRIORITY_CONTROL };
      if (!this.#session.send(need)) return;
      this.#waitingNeeds.shift();
    }
  }
}

/** Of a message that belongs to an epoch. */
function volumeOf({ type, body }: Incoming): number {
  if (type === EPOCH_COMMIT) return decodeEpochCommit(body).volume;
  return type === BLOCK_DATA ? decodeBlockData(body).volume : decodeBlockReference(body).volume;
}
