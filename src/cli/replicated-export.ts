/** An export that is kept present at providers: starts, tells of and ends its replications. */
import { codecPool, type FileName } from '../codec/index.ts';
import { messageOf } from '../core/index.ts';
import { confirmed, type Device, DeviceError } from '../device/index.ts';
import { connectProvider, knownProvider } from '../service/index.ts';
import type { PreImages } from '../track/index.ts';
import type { TrackedExport } from '../transfer/export/index.ts';
import {
  type AgentAuthority,
  EPOCH_BYTES_DUE,
  type EpochReport,
  type Held,
  type Lease,
  Likeness,
  Mandate,
  PRE_IMAGE_BYTES_MAX,
  ReplicateError,
  Replication,
  TrackedSource,
} from '../transfer/replicate/index.ts';
import type { LaneMode } from '../wire/index.ts';
import { digestOf } from './authority.ts';
import type { Context } from './context.ts';
import type { Node } from './node.ts';
import type { State } from './output.ts';
import type { ProviderAddress } from './provider-address.ts';
import { type ProviderState, providerState, providerText, secondsOf } from './provider-state.ts';
import { formatDuration, formatSize } from './sizes.ts';
import { stopped } from './stopped.ts';

export type ReplicatedVolume = {
  readonly volume: string;
  readonly exported: TrackedExport;
  /** Where moments keep what is overwritten; the tracker's folder. */
  readonly directory: string;
  readonly authority: AgentAuthority;
  /** What the device is made of: threads read it. */
  readonly file: FileName | undefined;
  /** One for each provider, or none. */
  readonly leases: readonly Lease[];
};

export type ReplicatedOptions = {
  /** Several are cut at one moment. */
  readonly volumes: readonly [ReplicatedVolume, ...ReplicatedVolume[]];
  readonly group: string | undefined;
  readonly node: Node;
  readonly roomBytesMax: number;
  readonly to: readonly ProviderAddress[];
  readonly intervalMs: number;
  readonly lane: LaneMode;
  /** A flush waits so long for all providers; undefined: it does not. */
  readonly syncMs: number | undefined;
};

export interface ReplicatedExport {
  /** What is to be served, in the order of the volumes. */
  readonly devices: readonly Device[];
  state(): State & { readonly fields: { readonly providers: readonly ProviderState[] } };
  /** Once no client writes any more; tells what the providers have. */
  finish(): Promise<void>;
}

type Target = {
  readonly provider: string;
  readonly replication: Replication;
};

/** One hashes and compresses 300 MB/s: more than a link carries, and a volume changes. */
const PACKING_THREADS = 1;

/** Beside the tracker's files: what chunks of the volume resemble, for the next run. */
const SAMPLES_FILE = 'samples';

/** After a stop: what is left is sent for so long, and else at the next start. */
const FINISH_MS = 30_000;
/** One that is not connected is looked for so long, and has as long as the others once it is. */
const LOOK_MS = 3_000;

/**
 * A provider that cannot be reached is looked for while the volume is served. What ends it: one
 * that is not known here, one that refuses a volume that it never had, REPLICATE_FENCED.
 */
export async function replicatedExport(
  context: Context,
  options: ReplicatedOptions,
): Promise<ReplicatedExport> {
  const { volumes, to, syncMs, group, intervalMs, lane, node } = options;
  const { env, output, signal } = context;
  const name = group ?? volumes[0].volume;
  if (node.authorities === undefined) {
    for (const { written } of to) await knownProvider(node.peers, written);
  }
  // What is hashed and compressed keeps no writer waiting, whom this thread serves.
  const pool = codecPool(env, PACKING_THREADS, { atOnce: true, isBackground: true });
  const life = { isServed: false };
  const preImages = volumes.map(({ exported }) =>
    exported.device.keepPreImages(PRE_IMAGE_BYTES_MAX),
  );
  const likenesses = await Promise.all(
    volumes.map(({ directory, exported: { device } }) =>
      Likeness.open(env, {
        ...{ path: `${directory}/${SAMPLES_FILE}`, sizeBytes: device.sizeBytes },
        volumes: volumes.length,
      }),
    ),
  );
  const targets = to.map((provider, index): Target => {
    const teller = new Teller(context, provider.written);
    const tell = (error: unknown) => output.warn(messageOf(error));
    const [first, ...others] = volumes.map((volume, at) => {
      const known = { preImages: preImages[at]!, likeness: likenesses[at]! };
      return keptOf(context, { ...options, ...known, volume, index, life, tell });
    });
    const replication = new Replication(env, {
      ...{ ...first!, ...(group !== undefined && { group: { name: group, others } }), intervalMs },
      pool,
      connect: () => connectProvider(env, { ...provider, ...node, lane }),
      onEpoch: (report, held, volume) => teller.epoch(volume, { report, held, replication }),
      onTrouble: (error, againMs) => teller.trouble(error, againMs),
      onLink: (isConnected) => teller.link(isConnected, replication),
    });
    return { provider: provider.written, replication };
  });
  for (const images of preImages) {
    images.onWritten = (bytes) => {
      if (bytes < EPOCH_BYTES_DUE) return;
      for (const { replication } of targets) replication.pace.hurry();
    };
  }
  try {
    await Promise.race([allBegun(targets), stopped(signal)]);
    // Where it was offered, its provider has said by now that it has not taken it, or nobody has.
    for (const { authority } of volumes) authority.check();
  } catch (error) {
    await Promise.all(targets.map(({ replication }) => replication.finish(0)));
    await pool[Symbol.asyncDispose]();
    throw error;
  }
  life.isServed = true;
  tellAbsent(context, name, targets, options);
  const finishMs = signal.aborted ? 0 : FINISH_MS;
  const confirm = () => confirmation(context, name, targets, syncMs!);
  return {
    devices: volumes.map(({ exported: { device } }) =>
      syncMs === undefined ? device : confirmed(device, confirm),
    ),
    state: () => stateOf(targets),
    async finish() {
      try {
        await finish(context, name, targets, finishMs);
        for (const likeness of likenesses) await likeness.save({ isLast: true });
      } finally {
        await pool[Symbol.asyncDispose]();
      }
    },
  };
}

/** All are waited for: while one keeps a branch, another one may have ended already. */
async function allBegun(targets: readonly Target[]): Promise<void> {
  const ends = await Promise.allSettled(targets.map(({ replication }) => replication.begun));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

type KeptOptions = ReplicatedOptions & {
  readonly volume: ReplicatedVolume;
  /** Of the provider. */
  readonly index: number;
  readonly preImages: PreImages;
  readonly likeness: Likeness;
  readonly life: { readonly isServed: boolean };
  readonly tell: (error: unknown) => void;
};

/** One volume, as it is kept present at one provider. */
function keptOf(
  context: Context,
  { volume: own, index, preImages, likeness, roomBytesMax, life, tell }: KeptOptions,
) {
  const { volume, exported, directory, authority, file, leases } = own;
  const { device, gate } = exported;
  const { files, clock } = context.env;
  const source = new TrackedSource({
    ...{ device, volume, files, clock, directory, roomBytesMax, number: index },
    ...{ preImages, likeness, file },
  });
  const lease = leases[index];
  const mandate = new Mandate({
    ...{ clock, authority, gate, digestOf: () => digestOf(context, device) },
    ...(lease !== undefined && { lease }),
    onTrouble: tell,
    // Before it is served, the failure itself says so.
    onFenced: (error) => (life.isServed ? tellFenced(context, volume, error) : undefined),
  });
  return { name: volume, source, mandate };
}

function tellFenced({ output }: Context, volume: string, { message, hint }: DeviceError): void {
  output.status({ state: 'fenced', volume }, '');
  output.warn(`writes are refused from now on: ${message}\n  ${hint}`);
}

/** What it means that a provider has not answered. */
function tellAbsent(
  { output }: Context,
  name: string,
  targets: readonly Target[],
  { volumes, syncMs }: ReplicatedOptions,
): void {
  const absent = targets.filter(({ replication }) => !replication.state.isConnected);
  if (absent.length === 0) return;
  const where = absent.map(({ provider }) => provider).join(', ');
  const effect = volumes.some(({ leases }) => leases.length > 0)
    ? 'writes wait until each provider has answered (--fence lease)'
    : syncMs !== undefined
      ? `what is flushed waits for it, ${formatDuration(syncMs)} at most, and fails then (--sync)`
      : 'what is written is sent when it answers';
  output.warn(`${name} is served without ${where}: ${effect}`);
}

/** DEVICE_IO if the providers do not have it in time: the writer must not believe that they do. */
async function confirmation(
  { env }: Context,
  volume: string,
  targets: readonly Target[],
  syncMs: number,
): Promise<void> {
  const late = new AbortController();
  const timer = env.clock.after(syncMs, () =>
    late.abort(new Error(`not in ${formatDuration(syncMs)}`)),
  );
  try {
    await Promise.all(targets.map(({ replication }) => replication.pace.reached(late.signal)));
  } catch (cause) {
    const behind = targets.filter(({ replication }) => replication.state.backlogBytes > 0);
    const where = behind.map(({ provider }) => provider).join(', ') || targets[0]!.provider;
    const message = `what was flushed of ${volume} is here, and not at ${where}`;
    throw new DeviceError('DEVICE_IO', `${message}: ${messageOf(cause)}`, {
      hint: 'See why the link is down; a later flush that succeeds covers this one.',
      cause,
    });
  } finally {
    timer.cancel();
  }
}

function stateOf(targets: readonly Target[]): ReturnType<ReplicatedExport['state']> {
  const providers = targets.map(({ provider, replication }) =>
    providerState(provider, replication.state),
  );
  return { fields: { providers }, text: providers.map(providerText).join('\n') };
}

async function finish(
  { output }: Context,
  volume: string,
  targets: readonly Target[],
  finishMs: number,
): Promise<void> {
  const ends = targets.map(({ replication }) => replication.finish(finishMs, LOOK_MS));
  for (const [index, isComplete] of (await Promise.all(ends)).entries()) {
    const { provider, replication } = targets[index]!;
    const { epoch } = replication.state;
    if (isComplete) {
      const fields = { state: 'complete', volume, provider, epoch };
      output.status(fields, `${provider} has all of ${volume}`);
    } else {
      const { trouble } = replication.state;
      const why = messageOf(trouble ?? 'it took too long');
      const left = `${provider} does not have the newest changes of ${volume}: ${why}`;
      const isFenced = trouble instanceof ReplicateError && trouble.code === 'REPLICATE_FENCED';
      const next = 'The next `ferry export --to` that it lets in sends them.';
      output.warn(`${left}\n  ${isFenced ? trouble.hint : next}`);
    }
  }
}

type Arrived = {
  readonly report: EpochReport;
  readonly held: Held;
  readonly replication: Replication;
};

/** Tells what a person should know once, and everything to programs and with --verbose. */
class Teller {
  readonly #context: Context;
  readonly #provider: string;
  #isGood = false;
  #last = '';

  constructor(context: Context, provider: string) {
    this.#context = context;
    this.#provider = provider;
  }

  epoch(volume: string, { report, held, replication: { state } }: Arrived): void {
    const { output } = this.#context;
    const { epoch } = held;
    const { dataBytes, knownBytes, zeroBytes, sentBytes } = report;
    const provider = this.#provider;
    const { lagMs, backlogBytes } = state;
    const fields = {
      ...{ state: 'epoch', volume, provider, epoch, dataBytes, knownBytes, zeroBytes, sentBytes },
      ...{ ...secondsOf(lagMs), backlogBytes },
    };
    const what = `${formatSize(dataBytes)} changed, ${formatSize(sentBytes)} sent`;
    const text = `${volume} is at epoch ${epoch} at ${provider}: ${what}`;
    if (output.options.json || !this.#isGood) output.status(fields, text);
    else output.detail(text);
    this.#isGood = true;
    this.#last = '';
  }

  /** Once for each loss, and when it is over. */
  link(isConnected: boolean, { state }: Replication): void {
    const { output } = this.#context;
    const provider = this.#provider;
    const { trouble } = state;
    if (!isConnected) {
      this.#isGood = false;
      this.#last = `${provider}: ${messageOf(trouble)}`;
      output.warn(`${provider} is not connected any more: ${messageOf(trouble)}`);
    } else if (this.#last !== '') {
      this.#last = '';
      output.status({ state: 'connected', provider }, `${provider} is connected`);
    }
  }

  trouble(error: unknown, againMs: number): void {
    const { output } = this.#context;
    const message = `${this.#provider}: ${messageOf(error)}`;
    const isNew = message !== this.#last;
    this.#isGood = false;
    this.#last = message;
    const text = `${message}; trying again in ${formatDuration(againMs)}`;
    if (isNew) output.warn(text);
    else output.detail(text);
  }
}
