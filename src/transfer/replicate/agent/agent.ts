/** Agent: the side that sends, over one session; requests, offers, room, the end of it. */
import { FerryError, Gate } from '../../../core/index.ts';
import {
  AUTHORITY_ABORT,
  AUTHORITY_COMMIT,
  AUTHORITY_PREPARE,
  BLOCK_DATA,
  type BlockData,
  decodeAuthorityAbort,
  decodeAuthorityCommit,
  decodeAuthorityPrepare,
  decodeBlockData,
  decodeNeed,
  type ErrorMessage,
  encodeOffer,
  encodeRead,
  type Incoming,
  METADATA,
  NEED,
  type Need,
  OFFER,
  PRIORITY_BACKGROUND,
  PRIORITY_CONTROL,
  PRIORITY_DIRTY,
  READ,
  type Read,
  type SendOptions,
  type Session,
  type SessionHandlers,
  WireError,
} from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { REQUESTS_MAX, WINDOWS_IN_FLIGHT } from '../limits.ts';
import {
  type Answer,
  decodeTold,
  encodeTold,
  type OpenAnswer,
  type Request,
  type Told,
} from '../requests.ts';
import { RemoteVolume } from './remote-volume.ts';

/** Makes the session; `handlers` hear of it. */
export type OpenSession = (handlers: SessionHandlers) => Promise<Session>;

type WithoutNumber<R> = R extends Request ? Omit<R, 'request'> : never;

export class Agent implements SessionHandlers, AsyncDisposable {
  #session: Session | undefined;
  readonly #requests = new Map<number, PromiseWithResolvers<Told>>();
  readonly #offers = new Map<number, PromiseWithResolvers<Need>>();
  readonly #reads = new Map<number, PromiseWithResolvers<BlockData>>();
  /** Of all volumes together: each is in memory, and may ask for something. */
  readonly windows = new Gate({ limit: WINDOWS_IN_FLIGHT });
  #count = 0;
  #opened = 0;
  #room: PromiseWithResolvers<void> | undefined;
  readonly #over = Promise.withResolvers<never>();
  readonly #volumes = new Set<RemoteVolume>();
  /** Told when the connection is lost, or not found again, and why; without a reason it is back. */
  onLink: ((why?: unknown) => void) | undefined;

  static async connect(open: OpenSession): Promise<Agent> {
    const agent = new Agent();
    agent.#over.promise.catch(() => undefined); // Told to whoever waits for something.
    agent.#session = await open(agent);
    return agent;
  }

  private constructor() {}

  get session(): Session {
    return this.#session!;
  }

  /** The replica of a volume; REPLICATE_REFUSED says why not. */
  async open(
    name: string,
    sizeBytes: number,
    { authority = 1, leaseMs = 0, via, group }: Claim = {},
  ): Promise<RemoteVolume> {
    this.#opened += 1; // Before anything is waited for: several may be opened at once.
    const number = this.#opened;
    const geometry = { sizeBytes, blockBytes: 4096, chunkBytes: 65_536 };
    const more = { ...(via && { via }), ...(group && { group }) };
    const request = { ask: 'open', authority, leaseMs, ...more } as const;
    const { json } = await this.ask(request, { volume: number, name, geometry });
    const known = json as unknown as OpenAnswer;
    const numbers = [known.epoch, known.seenEpoch, known.authority, known.promotedEpoch ?? 0];
    if (typeof known.replica !== 'string' || !numbers.every((value) => Number.isSafeInteger(value)))
      throw protocolBreach('an answer that says nothing');
    const volume = new RemoteVolume(this, { number, name, sizeBytes, authority, group }, known);
    this.#volumes.add(volume);
    return volume;
  }

  async ask(
    request: WithoutNumber<Request>,
    about: Omit<Parameters<typeof encodeTold>[0], 'json'>,
  ): Promise<Told> {
    if (this.#requests.size >= REQUESTS_MAX) throw protocolBreach(`${REQUESTS_MAX} requests wait`);
    this.#count += 1;
    const waiting = Promise.withResolvers<Told>();
    this.#requests.set(this.#count, waiting);
    const json = { ...request, request: this.#count } as Request;
    const parts = [encodeTold({ ...about, json })];
    await this.send({ type: METADATA, parts, priority: PRIORITY_CONTROL });
    return await this.orOver(waiting.promise);
  }

  /** Which of the hashes the provider lacks. */
  async offer(volume: number, hashes: Uint8Array): Promise<(index: number) => boolean> {
    this.#count += 1;
    const waiting = Promise.withResolvers<Need>();
    this.#offers.set(this.#count, waiting);
    const parts = [encodeOffer({ offer: this.#count, volume, hashes })];
    await this.send({ type: OFFER, parts, priority: PRIORITY_DIRTY });
    const { wanted } = await this.orOver(waiting.promise);
    return (index) => (wanted[index >> 3]! & (1 << (index & 7))) !== 0;
  }

  /** What a promoted volume holds; whoever asks verifies it. */
  async read(range: Pick<Read, 'volume' | 'offsetBytes' | 'lengthBytes'>): Promise<BlockData> {
    this.#count += 1;
    const request = this.#count;
    const waiting = Promise.withResolvers<BlockData>();
    this.#reads.set(request, waiting);
    const priority = PRIORITY_BACKGROUND;
    const parts = [encodeRead({ ...range, request, epoch: 0, priority })];
    await this.send({ type: READ, parts, priority });
    return await this.orOver(waiting.promise);
  }

  /** Settles when it is queued. */
  async send(options: SendOptions): Promise<void> {
    while (!this.session.send(options)) {
      this.#room ??= Promise.withResolvers();
      await this.orOver(this.#room.promise);
    }
  }

  /** What `work` gives, unless the session ends before. */
  orOver<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#over.promise]);
  }

  onMessage(message: Incoming): void {
    try {
      if (message.type === METADATA) this.#onTold(decodeTold(message.body));
      else if (message.type === NEED) this.#onNeed(decodeNeed(message.body));
      else if (message.type === BLOCK_DATA) this.#onData(decodeBlockData(message.body));
      else if (message.type === AUTHORITY_PREPARE) {
        const prepare = decodeAuthorityPrepare(message.body);
        this.#volume(prepare.volume).onPrepare(prepare);
      } else if (message.type === AUTHORITY_COMMIT) {
        const commit = decodeAuthorityCommit(message.body);
        this.#volume(commit.volume).onMoved(commit);
      } else if (message.type === AUTHORITY_ABORT) {
        const abort = decodeAuthorityAbort(message.body);
        this.#volume(abort.volume).onMoved(abort);
      } else throw protocolBreach(`an agent takes no messages of type ${message.type}`);
      message.done();
    } catch (error) {
      this.session.fail(error);
    }
  }

  onRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  onBroken(error: unknown): void {
    this.onLink?.(error ?? closed());
  }

  onUnreachable(error: unknown): void {
    this.onLink?.(error);
  }

  onResumed(): void {
    this.onLink?.();
  }

  /** Something of an epoch was not taken: it is given up, and sent anew. */
  onPeerError({ code, text, volume: number }: ErrorMessage): void {
    for (const volume of this.#volumes) {
      const isIt = number === undefined || number === volume.facts.number;
      if (isIt) volume.refused(refused(code, text));
    }
  }

  onClosed(error: unknown): void {
    this.#over.reject(error ?? closed());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.session.end();
  }

  #onTold({ json, ...told }: Told): void {
    if (json.ask === 'move') {
      this.#volume(told.volume).wishMove();
      return;
    }
    if (json.ask !== undefined) throw protocolBreach('a provider that asks');
    const waiting = this.#requests.get(json.answer);
    if (waiting === undefined) throw protocolBreach(`answer ${json.answer} without its request`);
    this.#requests.delete(json.answer);
    const { refusal } = json as Answer;
    if (refusal === undefined) waiting.resolve({ json, ...told });
    else waiting.reject(refused(String(refusal.code), refusal.message, refusal.hint));
  }

  #volume(number: number): RemoteVolume {
    for (const volume of this.#volumes) if (volume.facts.number === number) return volume;
    throw protocolBreach(`volume ${number} was not opened`);
  }

  #onData(data: BlockData): void {
    const waiting = this.#reads.get(data.request);
    if (waiting === undefined) throw protocolBreach(`data for read ${data.request}`);
    this.#reads.delete(data.request);
    // Views of memory that is used again.
    const entries = data.entries.map((entry) => ({ ...entry, hash: entry.hash?.slice() }));
    waiting.resolve({ ...data, entries, frame: data.frame.slice() });
  }

  #onNeed(need: Need): void {
    const waiting = this.#offers.get(need.offer);
    if (waiting === undefined) throw protocolBreach(`a NEED for offer ${need.offer}`);
    this.#offers.delete(need.offer);
    // Whoever waits goes on later, when the message's memory belongs to another one.
    waiting.resolve({ ...need, wanted: need.wanted.slice() });
  }
}

/** As what an agent comes. */
export type Claim = {
  /** Under which it writes; 1 if nobody else ever did. */
  readonly authority?: number;
  /** It stops when it was not answered for so long; 0: it does not. */
  readonly leaseMs?: number;
  /** The providers by which the volume has come, the nearest one last. */
  readonly via?: readonly string[];
  /** Its epochs are committed with those of the others that this session opens. */
  readonly group?: EpochGroup | undefined;
};

function refused(code: string, text: string, hint = 'See what the provider says.'): ReplicateError {
  const message = `the provider refuses: ${text} (${code})`;
  return new ReplicateError('REPLICATE_REFUSED', message, { hint, remoteCode: code });
}

function closed(): ReplicateError {
  return new ReplicateError('REPLICATE_CLOSED', 'the provider has ended the session', {
    hint: 'Connect again.',
  });
}

/** Codes of the other side that trying again may mend. */
const PASSING = new Set([
  ...['REPLICATE_HASH', 'REPLICATE_UNKNOWN_CONTENT', 'REPLICATE_BASE', 'REPLICATE_CLOSED'],
  // At the next opening the provider says who writes.
  'REPLICATE_FENCED',
  ...[
    'REPLICATE_JOURNAL_FAILED',
    'REPLICATE_JOURNAL_FULL',
    'WIRE_BUSY',
    'WIRE_SESSION_UNKNOWN',
    'WIRE_TIMEOUT',
  ],
  ...['ENV_NO_SPACE', 'OBJECT_NO_SPACE', 'STORE_BUSY'],
]);

/** Whether the same may succeed later: a link that broke, a provider that restarts or is full. */
export function isPassing(error: unknown): boolean {
  if (error instanceof ReplicateError || error instanceof WireError) {
    if (error.remoteCode !== undefined) return PASSING.has(error.remoteCode);
    return ['REPLICATE_CLOSED', 'WIRE_TIMEOUT', 'WIRE_CLOSED'].includes(error.code);
  }
  return error instanceof FerryError && CONNECTION.has(error.code);
}

/** Names may be unknown while a network comes up, and so may the socket of a provider be. */
const CONNECTION = new Set([
  ...['ENV_REFUSED', 'ENV_TIMEOUT', 'ENV_CLOSED', 'ENV_IO', 'ENV_TLS', 'ENV_NOT_FOUND'],
]);
