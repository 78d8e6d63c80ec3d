/** Keeps a volume present at a provider: epoch after epoch, over as many sessions as that takes. */
import type { Env } from '../../../core/index.ts';
import { checkInterrupted } from '../../errors.ts';
import type { SnapshotAnswer } from '../requests.ts';
import { type Agent, isPassing } from './agent.ts';
import type { RemoteVolume } from './remote-volume.ts';
import type { EpochReport, EpochRequest } from './send-epoch.ts';

/** What a provider has of a volume. */
export type Held = { readonly replica: string; readonly epoch: number };

/** An epoch that was cut. Disposed when it was sent, or given up. */
export type CutEpoch = EpochRequest &
  AsyncDisposable & {
    /** The provider has it, durably: only now may what it was cut from be forgotten. */
    acknowledged(held: Held): Promise<void>;
  };

/** Where epochs come from. One cut at a time. */
export interface EpochSource {
  readonly sizeBytes: number;
  /** Against what the provider has; undefined if nothing has changed since. */
  cut(held: Held): Promise<CutEpoch | undefined>;
}

export type KeepOptions = {
  readonly name: string;
  readonly source: EpochSource;
  connect(): Promise<Agent>;
  /** Between two cuts; without it one epoch is sent, and made a snapshot. */
  readonly intervalMs?: number;
  /** Without success for so long: the last failure is thrown. For ever, if absent. */
  readonly giveUpMs?: number;
  readonly signal?: AbortSignal;
  readonly onEpoch?: (report: EpochReport, held: Held) => void;
  /** Something failed that may pass; it is tried again after `againMs`. */
  readonly onTrouble?: (error: unknown, againMs: number) => void;
};

export type KeepResult = {
  readonly report: EpochReport | undefined;
  readonly held: Held;
  readonly snapshot: SnapshotAnswer | undefined;
};

/** Between tries after a failure. */
const AGAIN_FIRST_MS = 200;
const AGAIN_MAX_MS = 30_000;

/** Ends after one epoch, or when `signal` is aborted. What does not pass is thrown. */
export async function keepReplica(
  { clock }: Pick<Env, 'clock'>,
  options: KeepOptions,
): Promise<KeepResult> {
  const { signal, giveUpMs = Infinity, onTrouble } = options;
  let againMs = AGAIN_FIRST_MS;
  let goodAtMs = clock.monotonicMs();
  const wentWell = () => {
    againMs = AGAIN_FIRST_MS;
    goodAtMs = clock.monotonicMs();
  };
  for (;;) {
    checkInterrupted(signal);
    try {
      return await keepOver({ clock }, options, wentWell);
    } catch (error) {
      checkInterrupted(signal);
      if (!isPassing(error) || clock.monotonicMs() - goodAtMs >= giveUpMs) throw error;
      onTrouble?.(error, againMs);
      await pause({ clock }, againMs, signal);
      againMs = Math.min(2 * againMs, AGAIN_MAX_MS);
    }
  }
}

/** Over one session. */
async function keepOver(
  env: Pick<Env, 'clock'>,
  options: KeepOptions,
  wentWell: () => void,
): Promise<KeepResult> {
  const { name, source, intervalMs, signal, connect } = options;
  await using agent = await connect();
  const stop = () => agent.session.end('interrupted');
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const volume = await agent.open(name, source.sizeBytes);
    for (;;) {
      const report = await sendOne(volume, options);
      wentWell();
      const { replica, epoch } = volume;
      if (intervalMs === undefined) {
        const snapshot = await volume.snapshot();
        return { report, held: { replica, epoch }, snapshot };
      }
      checkInterrupted(signal);
      await agent.orOver(pause(env, intervalMs, signal));
      checkInterrupted(signal);
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

async function sendOne(
  volume: RemoteVolume,
  { source, onEpoch }: KeepOptions,
): Promise<EpochReport | undefined> {
  const { replica } = volume;
  await using cut = await source.cut({ replica, epoch: volume.epoch });
  if (cut === undefined) return undefined;
  const report = await volume.send(cut);
  const held = { replica, epoch: volume.epoch };
  await cut.acknowledged(held);
  onEpoch?.(report, held);
  return report;
}

function pause(
  { clock }: Pick<Env, 'clock'>,
  delayMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(delayMs, end, { keepsProcess: true });
    signal?.addEventListener('abort', end, { once: true });
  });
}
