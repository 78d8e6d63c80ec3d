/** A volume at the provider, as its agent sees it. */
import { SHA256_BYTES } from '../../../core/index.ts';
import {
  AUTHORITY_ABORT,
  AUTHORITY_COMMIT,
  AUTHORITY_PREPARE,
  type AuthorityAbort,
  type AuthorityCommit,
  type AuthorityPrepare,
  EPOCH_COMMIT,
  EPOCH_CUT,
  type EpochCommit,
  encodeAuthorityAbort,
  encodeAuthorityCommit,
  encodeAuthorityPrepare,
  encodeEpochCommit,
  encodeEpochCut,
  PRIORITY_DIRTY,
} from '../../../wire/index.ts';
import type { Held } from '../cursor.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { protocolBreach } from '../errors.ts';
import { OFFER_BYTES } from '../limits.ts';
import type { OpenAnswer, SnapshotAnswer } from '../requests.ts';
import type { Agent } from './agent.ts';
import { type EpochReport, type EpochRequest, sendContent } from './send-epoch.ts';

export type VolumeFacts = {
  /** In the messages of this session. */
  readonly number: number;
  readonly name: string;
  readonly sizeBytes: number;
  /** Under which its epochs are written. */
  readonly authority: number;
  /** With which its epochs are cut and committed. */
  readonly group: EpochGroup | undefined;
};

export class RemoteVolume {
  readonly facts: VolumeFacts;
  readonly #agent: Agent;
  /** Tells this replica from one that began anew. */
  replica: string;
  /** What the provider has. */
  epoch: number;
  isEmpty: boolean;
  /** Of the group with which that was committed. */
  groupName: string | undefined;
  /** Of the cut that it is. */
  #mark: string | undefined;
  /** Under which it is written there, or by its agent; since when the provider does. */
  readonly known: Pick<OpenAnswer, 'authority' | 'promotedEpoch' | 'sizeBytes'>;
  /** The provider would take the volume over. */
  isMoveWished = false;
  /** Told when that begins. */
  onMoveWished: (() => void) | undefined;
  #moved = Promise.withResolvers<AuthorityCommit | AuthorityAbort>();
  #prepared = Promise.withResolvers<AuthorityPrepare>();
  #seen: number;
  #wasInterrupted: boolean;
  #failure = Promise.withResolvers<never>();

  constructor(
    agent: Agent,
    facts: VolumeFacts,
    { replica, epoch, seenEpoch, isEmpty, mark, group, ...known }: OpenAnswer,
  ) {
    this.known = known;
    this.#agent = agent;
    this.facts = facts;
    this.replica = replica;
    this.epoch = epoch;
    this.isEmpty = isEmpty;
    this.groupName = group?.name;
    this.#mark = typeof mark === 'string' ? mark : undefined;
    this.#seen = seenEpoch;
    this.#wasInterrupted = seenEpoch > epoch;
    this.#failure.promise.catch(() => undefined); // Told to whoever sends an epoch.
  }

  get agent(): Agent {
    return this.#agent;
  }

  /** An epoch began after the one that is there, and never ended. */
  get wasInterrupted(): boolean {
    return this.#wasInterrupted;
  }

  get held(): Held {
    return { replica: this.replica, epoch: this.epoch, mark: this.#mark };
  }

  /** The lowest number that its next epoch may have; all of a group take the highest of theirs. */
  get nextEpoch(): number {
    return Math.max(this.#seen, this.epoch) + 1;
  }

  /** Those whose content the provider has already, wherever. */
  async alreadyThere<P extends { readonly hash: Uint8Array }>(all: readonly P[]): Promise<Set<P>> {
    if (all.length === 0) return new Set();
    const hashes = Buffer.concat(all.map(({ hash }) => hash));
    const isWanted = await this.#agent.offer(this.facts.number, hashes);
    return new Set(all.filter((_, index) => !isWanted(index)));
  }

  refused(error: unknown): void {
    this.#failure.reject(error);
  }

  /** Sends an epoch; settles when it is durable there, and the provider's state. */
  async send(request: EpochRequest, epoch: number = this.nextEpoch): Promise<EpochReport> {
    const { number, authority, group } = this.facts;
    this.#failure = Promise.withResolvers();
    this.#failure.promise.catch(() => undefined); // Told below.
    this.#seen = epoch;
    const cut = {
      ...{ volume: number, epoch, base: this.epoch, authority, group: group ? epoch : 0 },
      ...{ wallMs: request.wallMs, changedBytes: request.changedBytes ?? 0, mark: request.mark },
    };
    await this.#send(EPOCH_CUT, encodeEpochCut(cut));
    const stop = new AbortController();
    const content = sendContent(this, epoch, request, stop.signal);
    content.catch(() => undefined); // Told by the race, or of less interest than what ended it.
    let report: EpochReport;
    try {
      report = await this.#agent.orOver(Promise.race([content, this.#failure.promise]));
    } catch (error) {
      // Nothing reads the device of an epoch that was given up.
      stop.abort(error);
      this.#wasInterrupted = true;
      await content.catch(() => undefined);
      throw error;
    }
    const { messageCount, recordCount, digest } = report;
    await this.#commit({ volume: number, epoch, messageCount, recordCount, digest });
    this.epoch = epoch;
    this.groupName = group?.name;
    this.#mark = request.mark;
    this.isEmpty = false;
    this.#wasInterrupted = false;
    return report;
  }

  /** It had `epoch` before, and has an older one now: neither name nor number is used again. */
  async renew(epoch: number): Promise<void> {
    const { json } = await this.#agent.ask({ ask: 'renew', epoch }, { volume: this.facts.number });
    const { replica } = json as { readonly replica?: unknown };
    if (typeof replica !== 'string') throw protocolBreach('a replica without a name');
    this.replica = replica;
    this.#seen = Math.max(this.#seen, epoch);
  }

  /** The hashes of units from `offsetBytes` on, all zero where the content is. */
  async hashes(offsetBytes: number, count: number, unitBytes = OFFER_BYTES): Promise<Uint8Array> {
    const { epoch } = this;
    if (this.isEmpty) return new Uint8Array(count * SHA256_BYTES);
    const volume = this.facts.number;
    const { hashes } = await this.#agent.ask(
      { ask: 'hashes', epoch, offsetBytes, count, unitBytes },
      { volume },
    );
    if (hashes?.byteLength === count * SHA256_BYTES) return hashes;
    throw protocolBreach(`${hashes?.byteLength} bytes where ${count} hashes were asked for`);
  }

  /** Has the provider make a snapshot of what it has. */
  async snapshot(): Promise<SnapshotAnswer> {
    const volume = this.facts.number;
    const { json } = await this.#agent.ask({ ask: 'snapshot' }, { volume });
    const { snapshot, digest, storedBytes } = json as unknown as SnapshotAnswer;
    return { snapshot, digest, storedBytes };
  }

  wishMove(): void {
    this.isMoveWished = true;
    this.onMoveWished?.();
  }

  onMoved(answer: AuthorityCommit | AuthorityAbort): void {
    this.#moved.resolve(answer);
  }

  onPrepare(prepare: AuthorityPrepare): void {
    this.#prepared.resolve(prepare);
  }

  /** This side has stopped; settles when the provider has taken over, or has not. */
  async offer(digest: Uint8Array): Promise<AuthorityCommit | AuthorityAbort> {
    const { number, authority } = this.facts;
    this.isMoveWished = false;
    this.#moved = Promise.withResolvers();
    const body = encodeAuthorityPrepare({ volume: number, authority, epoch: this.epoch, digest });
    await this.#send(AUTHORITY_PREPARE, body);
    return await this.#agent.orOver(this.#moved.promise);
  }

  /** Has the provider, which has stopped, offer what it wrote. */
  async askForOffer(): Promise<AuthorityPrepare> {
    this.#prepared = Promise.withResolvers();
    await this.#agent.ask({ ask: 'offer' }, { volume: this.facts.number });
    return await this.#agent.orOver(this.#prepared.promise);
  }

  /** Tells the provider that this side writes from now on; settles when it knows. */
  async taken(commit: Omit<AuthorityCommit, 'volume'>): Promise<void> {
    const body = encodeAuthorityCommit({ ...commit, volume: this.facts.number });
    await this.#acknowledged(AUTHORITY_COMMIT, body);
  }

  /** This side does not take it. */
  async notTaken(authority: number, reason: string): Promise<void> {
    const body = encodeAuthorityAbort({ volume: this.facts.number, authority, reason });
    await this.#acknowledged(AUTHORITY_ABORT, body);
  }

  #commit(commit: EpochCommit): Promise<void> {
    return this.#acknowledged(EPOCH_COMMIT, encodeEpochCommit(commit));
  }

  async #acknowledged(type: number, body: Uint8Array): Promise<void> {
    const acknowledged = Promise.withResolvers<void>();
    await this.#agent.send({
      ...{ type, parts: [body], priority: PRIORITY_DIRTY },
      onAcknowledged: () => acknowledged.resolve(),
    });
    await this.#agent.orOver(Promise.race([acknowledged.promise, this.#failure.promise]));
  }

  #send(type: number, body: Uint8Array): Promise<void> {
    return this.#agent.send({ type, parts: [body], priority: PRIORITY_DIRTY });
  }
}
