/** Keeps volumes present at a provider: epoch after epoch, over as many sessions as that takes. */
import type { CodecPool } from '../../../codec/index.ts';
import type { Env } from '../../../core/index.ts';
import { checkInterrupted } from '../../errors.ts';
import type { Held } from '../cursor.ts';
import type { ReplicateError } from '../errors.ts';
import type { SnapshotAnswer } from '../requests.ts';
import { type Agent, isPassing } from './agent.ts';
import {
  cutMembers,
  handOverMembers,
  isUnchanged,
  type Kept,
  type Member,
  openMembers,
  renewOlder,
  sendMembers,
} from './members.ts';
import { Pace } from './pace.ts';
import type { EpochReport, EpochRequest } from './send-epoch.ts';

/** An epoch that was cut. Disposed when it was sent, or given up. */
export type CutEpoch = EpochRequest &
  AsyncDisposable & {
    /** The provider has it, durably: only now may what it was cut from be forgotten. */
    acknowledged(held: Held): Promise<void>;
    /** Why it cannot be read any more: it is given up then, and merged into a later one. */
    lost?(): Error | undefined;
  };

/** Where epochs come from. One cut at a time. */
export interface EpochSource {
  readonly sizeBytes: number;
  /** What the provider has is all there is, and no epoch need be cut to know it. */
  isUnchanged?(held: Held): boolean;
  /** The last epoch of a replica that was acknowledged, if that is known here. */
  acknowledgedEpoch?(replica: string): number | undefined;
  /** Against what the provider has; undefined if nothing has changed since. */
  cut(held: Held): Promise<CutEpoch | undefined>;
}

export type KeepOptions = Kept & {
  /** Others that are cut at the same moments, and committed together with it. */
  readonly group?: Group | undefined;
  connect(): Promise<Agent>;
  /** From one cut to the next; without it one epoch is sent, and made a snapshot. */
  readonly intervalMs?: number;
  /** Who asks for epochs beside the interval, or for the end. */
  readonly pace?: Pace;
  /** Without success for so long: the last failure is thrown. For ever, if absent. */
  readonly giveUpMs?: number;
  /** Whether it may succeed later; by default what a link or a busy provider does. */
  readonly mayPass?: (error: unknown) => boolean;
  /** Where epochs are packed. */
  readonly pool?: CodecPool | undefined;
  readonly signal?: AbortSignal;
  readonly onCut?: (monotonicMs: number) => void;
  readonly onEpoch?: (report: EpochReport, held: Held, name: string) => void;
  /** All that was there at the last cut is at the provider. */
  readonly onReached?: () => void;
  readonly onConnected?: (agent: Agent) => void;
  /** Something failed that may pass; it is tried again after `againMs`. */
  readonly onTrouble?: (error: unknown, againMs: number) => void;
};

/** What a volume is kept present with. Its sources give a cut each time. */
export type Group = { readonly name: string; readonly others: readonly Kept[] };

export type KeepResult = {
  readonly report: EpochReport | undefined;
  readonly held: Held;
  readonly snapshot: SnapshotAnswer | undefined;
};

/** Between tries after a failure. */
const AGAIN_FIRST_MS = 200;
const AGAIN_MAX_MS = 30_000;

type Life = KeepOptions & {
  readonly pace: Pace;
  readonly wentWell: () => void;
  /** What is there was not what it should have been: nothing is told against it. */
  readonly isDoubted: boolean;
};

/**
 * Ends after one epoch, after the last one when the pace ends, or when `signal` is aborted. What
 * does not pass is thrown.
 */
export async function keepReplica(
  { clock }: Pick<Env, 'clock'>,
  options: KeepOptions,
): Promise<KeepResult> {
  const { signal, giveUpMs = Infinity, onTrouble, mayPass = isPassing } = options;
  const { pace = new Pace(clock) } = options;
  let againMs = AGAIN_FIRST_MS;
  let goodAtMs = clock.monotonicMs();
  let isDoubted = false;
  const wentWell = () => {
    isDoubted = false;
    againMs = AGAIN_FIRST_MS;
    goodAtMs = clock.monotonicMs();
  };
  for (;;) {
    checkInterrupted(signal);
    try {
      return await keepOver({ clock }, { ...options, pace, wentWell, isDoubted });
    } catch (error) {
      checkInterrupted(signal);
      if (!mayPass(error) || clock.monotonicMs() - goodAtMs >= giveUpMs) {
        pace.failed(error);
        throw error;
      }
      // Patches against what is not there would be refused again.
      isDoubted = (error as ReplicateError).remoteCode === 'REPLICATE_HASH';
      onTrouble?.(error, againMs);
      await pace.again(againMs, signal);
      againMs = Math.min(2 * againMs, AGAIN_MAX_MS);
    }
  }
}

/** Over one session. */
async function keepOver({ clock }: Pick<Env, 'clock'>, life: Life): Promise<KeepResult> {
  const { intervalMs, pace, signal, group } = life;
  await using agent = await connected(life);
  const stop = () => agent.session.end('interrupted');
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const members = await openMembers(agent, [life, ...(group?.others ?? [])], group?.name);
    await renewOlder(members, (older) => life.onTrouble?.(older, 0));
    for (const { volume } of members) volume.onMoveWished = () => pace.hurry();
    life.onConnected?.(agent);
    const { volume } = members[0]!;
    for (;;) {
      if (members.some((one) => one.volume.isMoveWished))
        await handOverMembers(members, () => sendRest(members, life, clock.monotonicMs()));
      const isLast = pace.isEnding;
      const cutMs = clock.monotonicMs();
      const report = await sendOne(members, life, cutMs);
      const { held } = volume;
      if (intervalMs === undefined) {
        life.wentWell();
        return { report, held, snapshot: await volume.snapshot() };
      }
      if (isLast) return { report, held, snapshot: undefined };
      checkInterrupted(signal);
      const leftMs = Math.max(0, cutMs + intervalMs - clock.monotonicMs());
      await agent.orOver(pace.next(leftMs, signal));
      checkInterrupted(signal);
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** Nobody waits for a connection after an abort; one that comes about then is ended. */
async function connected({ connect, signal }: Life): Promise<Agent> {
  const stop = Promise.withResolvers<void>();
  const onAbort = () => stop.resolve();
  signal?.addEventListener('abort', onAbort, { once: true });
  const connecting = connect();
  await Promise.race([connecting, stop.promise]).finally(() =>
    signal?.removeEventListener('abort', onAbort),
  );
  if (signal?.aborted === true) {
    const end = (late: Agent) => late[Symbol.asyncDispose]();
    connecting.then(end).catch(() => undefined); // Nobody is there to be told.
  }
  checkInterrupted(signal);
  return await connecting;
}

/** Once nothing writes any more. */
async function sendRest(members: readonly Member[], life: Life, nowMs: number): Promise<void> {
  do await sendOne(members, life, nowMs);
  while (members.some(({ source, volume }) => source.isUnchanged?.(volume.held) === false));
}

/** One epoch of each of them; answers the report of the first. */
async function sendOne(
  members: readonly Member[],
  { pace, wentWell, isDoubted, pool, onCut, onEpoch, onReached, onTrouble }: Life,
  nowMs: number,
): Promise<EpochReport | undefined> {
  pace.begun();
  const reached = () => {
    wentWell();
    pace.done();
    onReached?.();
  };
  onCut?.(nowMs);
  const cuts = isUnchanged(members) ? undefined : await cutMembers(members);
  if (cuts === undefined) {
    reached();
    return undefined;
  }
  await using open = new AsyncDisposableStack();
  for (const cut of cuts) open.use(cut);
  try {
    const more = { pool, ...(isDoubted && { oldBytes: undefined, below: undefined }) };
    const sent = cuts.map((cut) => ({ ...cut, ...more }));
    const reports = await sendMembers(members, sent);
    reached();
    for (const [at, { volume, name }] of members.entries()) {
      onEpoch?.(reports[at]!, volume.held, name);
      await cuts[at]!.acknowledged(volume.held);
    }
    return reports[0];
  } catch (error) {
    const why = cuts.map((cut) => cut.lost?.()).find((lost) => lost !== undefined);
    if (why === undefined || members[0]!.volume.agent.session.state === 'closed') throw error;
    // Nothing of it was committed: what it held is in the next one.
    onTrouble?.(why, 0);
    pace.retry();
    return undefined;
  }
}
