/** Forwarder: sends what is committed here on to another provider, as an agent would. */
import { type Env, hasCode, messageOf, pause } from '../core/index.ts';
import {
  type Agent,
  type Provider,
  type RemoteVolume,
  ReplicateError,
} from '../transfer/replicate/index.ts';
import { codeOf } from './counts.ts';
import type { Log } from './log.ts';
import { PendingChanges } from './pending-changes.ts';

export type ForwarderOptions = {
  readonly provider: Provider;
  /** Fingerprint of this node, as those behind it know it. */
  readonly own: string;
  /** Fingerprint of the other provider. */
  readonly target: string;
  /** HOST:PORT, for people. */
  readonly written: string;
  connect(): Promise<Agent>;
  readonly log: Log;
};

export type ForwardStatus = {
  readonly to: string;
  readonly isConnected: boolean;
  /** Volumes that have epochs which are not there yet. */
  readonly waiting: number;
  /** Volumes that are not taken there, and why. */
  readonly refused: Readonly<Record<string, string>>;
};

/** Volumes that travel at the same time over the one session. */
const AT_ONCE = 4;
/** Between tries after a failure, and looks at all volumes. */
const AGAIN_FIRST_MS = 500;
const AGAIN_MAX_MS = 30_000;
const LOOK_MS = 60_000;

export class Forwarder {
  readonly #env: Env;
  readonly #options: ForwarderOptions;
  readonly #changes = new Map<string, PendingChanges>();
  /** Volumes to be sent, in the order in which they changed. */
  readonly #waiting = new Set<string>();
  /** On their way. */
  readonly #busy = new Set<string>();
  readonly #refused = new Map<string, string>();
  #wake = Promise.withResolvers<void>();
  #isConnected = false;

  constructor(env: Env, options: ForwarderOptions) {
    this.#env = env;
    this.#options = options;
  }

  get status(): ForwardStatus {
    return {
      ...{ to: this.#options.written, isConnected: this.#isConnected },
      waiting: new Set([...this.#waiting, ...this.#busy]).size,
      refused: Object.fromEntries(this.#refused),
    };
  }

  /** An epoch was committed. */
  committed(volume: string, changed: Parameters<PendingChanges['add']>[0]): void {
    this.#changesOf(volume).add(changed);
    // What was refused is tried again at the next look.
    if (!this.#refused.has(volume)) this.#enqueue(volume);
  }

  /** Goes on until `signal` is aborted, through lost links and restarts of the other side. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, written } = this.#options;
    void this.#lookAtAll(signal);
    let againMs = AGAIN_FIRST_MS;
    while (!signal.aborted) {
      try {
        await this.#overOneSession(signal, () => {
          againMs = AGAIN_FIRST_MS;
        });
      } catch (error) {
        if (signal.aborted) return;
        const fields = { event: 'forward', to: written, code: codeOf(error) };
        log.warn(fields, `forwarding to ${written}: ${messageOf(error)}; trying again`);
      }
      await pause(this.#env, againMs, signal);
      againMs = Math.min(2 * againMs, AGAIN_MAX_MS);
    }
  }

  /** All volumes once in a while: those of before the start, and those that were refused. */
  async #lookAtAll(signal: AbortSignal): Promise<void> {
    const { provider, log, written } = this.#options;
    while (!signal.aborted) {
      try {
        for (const { volume } of await provider.list()) this.#enqueue(volume);
      } catch (error) {
        log.warn({ event: 'forward', to: written, code: codeOf(error) }, messageOf(error));
      }
      await pause(this.#env, LOOK_MS, signal);
    }
  }

  async #overOneSession(signal: AbortSignal, wentWell: () => void): Promise<void> {
    await using agent = await this.#options.connect();
    this.#isConnected = true;
    const end = () => agent.session.end('the provider stops');
    signal.addEventListener('abort', end, { once: true });
    const volumes = new Map<string, RemoteVolume>();
    const over = new AbortController();
    const work = async () => {
      for (;;) {
        const volume = await agent.orOver(this.#next(over.signal));
        try {
          await this.#forward(agent, volumes, volume);
          wentWell();
        } catch (error) {
          this.#enqueue(volume);
          throw error;
        } finally {
          this.#busy.delete(volume);
        }
      }
    };
    try {
      const all = Array.from({ length: AT_ONCE }, () =>
        work().catch((error: unknown) => {
          agent.session.end();
          throw error;
        }),
      );
      for (const ended of await Promise.allSettled(all)) {
        if (ended.status === 'rejected') throw ended.reason;
      }
    } finally {
      this.#isConnected = false;
      over.abort();
      this.#wakeUp();
      signal.removeEventListener('abort', end);
    }
  }

  /** A volume that waits and that nobody sends already. */
  async #next(over: AbortSignal): Promise<string> {
    for (;;) {
      over.throwIfAborted(); // Nobody would send it.
      for (const volume of this.#waiting) {
        if (this.#busy.has(volume)) continue;
        this.#waiting.delete(volume);
        this.#busy.add(volume);
        return volume;
      }
      await this.#wake.promise;
    }
  }

  #enqueue(volume: string): void {
    this.#waiting.add(volume);
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async #forward(agent: Agent, volumes: Map<string, RemoteVolume>, volume: string): Promise<void> {
    const { provider, own, target } = this.#options;
    const replica = await provider.known(volume);
    if (replica === undefined || replica.isEmpty) return;
    // It comes from there, whether from its own agents or from others.
    if (replica.owner === target || replica.via.includes(target)) return;
    const changes = this.#changesOf(volume);
    try {
      let remote = volumes.get(volume);
      const { sizeBytes } = replica;
      if (remote?.facts.sizeBytes !== sizeBytes) {
        remote = await agent.open(volume, sizeBytes, { via: [...replica.via, own] });
        volumes.set(volume, remote);
      }
      const changed = changes.take(remote.held.mark);
      await using held = await replica.hold();
      const mark = `${replica.id}:${held.epoch}`;
      // After a resize, and before an epoch in the new size: there is nothing to send yet.
      if (held.device.sizeBytes !== sizeBytes) return;
      if (remote.held.mark !== mark) {
        const changedBytes = changed?.totalBytes ?? 0;
        const wallMs = this.#env.clock.wallMs();
        const how = changed === undefined ? ({ changed: 'compare' } as const) : { changed };
        await remote.send({ device: held.device, ...how, changedBytes, wallMs, mark });
      }
      changes.sent(mark);
      this.#refused.delete(volume);
    } catch (error) {
      if (!(error instanceof ReplicateError) || !ofTheVolume(error)) throw error;
      this.#refuse(volume, error);
    }
  }

  #refuse(volume: string, error: ReplicateError): void {
    const { log, written } = this.#options;
    const code = error.remoteCode ?? error.code;
    const isNews = this.#refused.get(volume) !== code;
    this.#refused.set(volume, code);
    const fields = { event: 'forward', to: written, volume, code };
    const text = `${volume} is not forwarded to ${written}: ${error.message}`;
    if (isNews) (code === 'REPLICATE_LOOP' ? log.info : log.warn)(fields, text);
  }

  #changesOf(volume: string): PendingChanges {
    const changes = this.#changes.get(volume) ?? new PendingChanges();
    this.#changes.set(volume, changes);
    return changes;
  }
}

/** What says no to one volume, and nothing of the others. */
const OF_THE_VOLUME = new Set([
  ...['REPLICATE_LOOP', 'REPLICATE_VOLUME_TAKEN', 'REPLICATE_DENIED', 'REPLICATE_QUOTA'],
  ...['STORE_NAME', 'REPLICATE_BASE_GONE'],
]);

function ofTheVolume(error: ReplicateError): boolean {
  if (error.remoteCode !== undefined) return OF_THE_VOLUME.has(error.remoteCode);
  return [...OF_THE_VOLUME].some((code) => hasCode(error, code));
}
