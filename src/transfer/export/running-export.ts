/** The other side of the control socket: asks a running export, as a source of changes. */
import { type Env, EnvError, type FerryError, hasCode } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import {
  type CannotSayReason,
  type ChangeAnswer,
  type ChangedRange,
  type ChangeQuestion,
  type ChangeSource,
  cannotSay,
  type Finish,
  type Identity,
  reasonOf,
  type Since,
  TrackError,
} from '../../track/index.ts';
import { ANSWER_TIMEOUT_MS, CONNECT_TIMEOUT_MS } from './limits.ts';
import { Lines, type Message } from './lines.ts';
import { momentView } from './moment-view.ts';
import { controlSocket, controlSockets } from './places.ts';

export type RunningExport = {
  readonly path: string;
  readonly volume: string;
  readonly sizeBytes: number;
  readonly origin: string;
  readonly source: Identity | null;
  readonly isTracked: boolean;
};

/** Connections to the moment: reads overlap. */
const MOMENT_CONNECTIONS = 2;

/** The running export of a volume. */
export async function exportOfVolume(
  env: Env,
  stateDirectory: string,
  volume: string,
): Promise<RunningExport | undefined> {
  const found = await who(env, controlSocket(stateDirectory, volume));
  return found?.volume === volume ? found : undefined;
}

/** The running export of a file or block device, whatever it is called there. */
export async function exportOfFile(
  env: Env,
  stateDirectory: string,
  { device, inode }: Pick<Identity, 'device' | 'inode'>,
): Promise<RunningExport | undefined> {
  for await (const found of runningExports(env, stateDirectory)) {
    if (found.source?.device === device && found.source.inode === inode) return found;
  }
  return undefined;
}

/** The running exports, as far as they are tracked. */
export async function* runningExports(
  env: Env,
  stateDirectory: string,
): AsyncGenerator<RunningExport> {
  for (const path of await controlSockets(env, stateDirectory)) {
    const found = await who(env, path);
    if (found !== undefined) yield found;
  }
}

/** How an export stands with its providers, and why it refuses writes, if it does. */
export async function standingOf(
  env: Env,
  running: RunningExport,
): Promise<{ readonly providers: readonly unknown[]; readonly refusal: string | null }> {
  const { providers, refusal } = await askOnce(env, running, { ask: 'providers' });
  return {
    providers: Array.isArray(providers) ? providers : [],
    refusal: typeof refusal === 'string' ? refusal : null,
  };
}

/** Has an export write its profile of accesses as it is now. */
export async function saveProfile(env: Env, running: RunningExport): Promise<void> {
  await askOnce(env, running, { ask: 'profile' });
}

/** From now on what changes is told to NBD clients that ask for the context which is answered. */
export async function markForNbd(
  env: Env,
  running: RunningExport,
  name: string,
): Promise<{ readonly epoch: number; readonly context: string }> {
  const answer = await askOnce(env, running, { ask: 'mark', consumer: `nbd:${name}` });
  return { epoch: Number(answer.epoch), context: String(answer.context) };
}

/** The mark of that name is kept no longer. */
export async function forgetForNbd(env: Env, running: RunningExport, name: string): Promise<void> {
  await askOnce(env, running, { ask: 'forget', consumer: `nbd:${name}` });
}

/** Another side writes the volume: the export refuses writes with that from now on. */
export async function fenceExport(
  env: Env,
  running: RunningExport,
  { message, hint }: Pick<FerryError, 'message' | 'hint'>,
): Promise<void> {
  await askOnce(env, running, { ask: 'fence', message, hint });
}

/** ENV_REFUSED if it has ended. */
async function askOnce(
  env: Env,
  { path, volume }: RunningExport,
  question: Message,
): Promise<Message> {
  await using asker = await Asker.open(env, path);
  if (asker !== undefined) return await asker.ask(question);
  const hint = 'Look whether its process still runs, and start it again.';
  throw new EnvError('ENV_REFUSED', `the export of ${volume} has ended`, { hint });
}

async function who(env: Env, path: string): Promise<RunningExport | undefined> {
  const asker = await Asker.open(env, path);
  if (asker === undefined) return undefined;
  await using _asker = asker;
  const answer = await asker.ask({ ask: 'who' });
  return { ...(answer as unknown as RunningExport), path };
}

export type ExportSourceOptions = {
  readonly running: RunningExport;
  readonly consumer: string;
  /** What is read around a changed block, see `changedRuns`. */
  readonly alignBytes: number;
  /** Told what the export calls the cut. */
  readonly onCut?: (mark: string) => void;
};

/** Asks for a cut: its moment is read, whether its changes are known or not. */
export function runningExportSource(env: Env, options: ExportSourceOptions): ChangeSource {
  return { name: 'tracker', givesMoment: true, changes: (question) => ask(env, options, question) };
}

async function ask(
  env: Env,
  { running, consumer, alignBytes, onCut }: ExportSourceOptions,
  { since, volume, readsAll = false }: ChangeQuestion,
): Promise<ChangeAnswer> {
  const asker = await Asker.open(env, running.path);
  if (asker === undefined) return cannotSay('tracker', 'absent', 'its export has ended');
  const from = since === undefined ? null : sinceOf(since);
  let view: Device | undefined;
  try {
    const begun = await asker.ask({ ask: 'cut', consumer, since: from, alignBytes, readsAll });
    onCut?.(begun.mark as string);
    const { connect } = await import('../../nbd/index.ts');
    const served = await connect(env, begun.uri as string, {
      connections: MOMENT_CONNECTIONS,
      readOnly: true,
      reconnectTimeoutMs: 0, // What was read once is not kept: reading it again proves nothing.
    });
    view = momentView(served, () => lossOf(asker, volume));
    return answerOf(asker, begun, view, { volume, since });
  } catch (error) {
    await view?.[Symbol.asyncDispose]();
    await asker[Symbol.asyncDispose]();
    if (!(error instanceof TrackError || error instanceof EnvError)) throw error;
    const reason = hasCode(error, 'TRACK_BUSY') ? 'busy' : 'failed';
    return cannotSay('tracker', reason, error.message);
  }
}

function answerOf(
  asker: Asker,
  begun: Message,
  view: Device,
  { volume, since }: Pick<ChangeQuestion, 'volume' | 'since'>,
): ChangeAnswer {
  const finish: Finish = async (outcome) => {
    try {
      const { id: snapshot = null, digest = null } =
        outcome.kind === 'committed' ? outcome.snapshot : {};
      await view[Symbol.asyncDispose]();
      await asker.ask({ ask: 'finish', snapshot, digest });
    } finally {
      await asker[Symbol.asyncDispose]();
    }
  };
  if (begun.isKnown !== true) {
    const reason = begun.reason as CannotSayReason;
    return cannotSay('tracker', reason, String(begun.why), { view, finish });
  }
  const unsureRegions = Number(begun.unsureRegions);
  return {
    kind: 'changes',
    source: 'tracker',
    precision: unsureRegions === 0 ? 'exact' : 'superset',
    changed: pages(asker),
    reason: reasonOf(volume, since!, unsureRegions),
    view,
    finish,
  };
}

function sinceOf({ id, digest, mark }: Since): Message {
  return { id, digest, ...(mark !== undefined && { mark }) };
}

async function lossOf(asker: Asker, volume: string): Promise<Error | undefined> {
  const { failure, code, hint } = await asker.ask({ ask: 'state' });
  if (typeof failure !== 'string') return undefined;
  const message = `the moment of ${volume} is lost, and nothing was committed: ${failure}`;
  return new TrackError(code === 'TRACK_ROOM' ? code : 'TRACK_STATE', message, {
    hint: typeof hint === 'string' ? hint : 'Begin another backup.',
  });
}

async function* pages(asker: Asker): AsyncGenerator<ChangedRange> {
  for (;;) {
    const { ranges } = await asker.ask({ ask: 'page' });
    const page = ranges as [number, number, NonNullable<ChangedRange['kind']>][];
    if (page.length === 0) return;
    for (const [offsetBytes, lengthBytes, kind] of page) {
      yield { offsetBytes, lengthBytes, kind };
    }
  }
}

/** One conversation. */
export class Asker implements AsyncDisposable {
  readonly #env: Env;
  readonly #lines: Lines;
  readonly #path: string;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(env: Env, lines: Lines, path: string) {
    this.#env = env;
    this.#lines = lines;
    this.#path = path;
  }

  /** Undefined if nobody listens there. */
  static async open(env: Env, path: string): Promise<Asker | undefined> {
    try {
      const stream = await env.net.connect({ kind: 'unix', path }, CONNECT_TIMEOUT_MS);
      return new Asker(env, new Lines(stream), path);
    } catch (error) {
      if (hasCode(error, 'ENV_NOT_FOUND') || hasCode(error, 'ENV_REFUSED')) return undefined;
      throw error;
    }
  }

  /** One question after another. What the export refuses is a TrackError. */
  ask(question: Message): Promise<Message> {
    const answer = this.#last.then(() => this.#ask(question));
    this.#last = answer.catch(() => undefined); // Told to whoever asked.
    return answer;
  }

  async #ask(question: Message): Promise<Message> {
    this.#lines.send(question);
    const late = Promise.withResolvers<undefined>();
    const timer = this.#env.clock.after(ANSWER_TIMEOUT_MS, () => late.resolve(undefined));
    try {
      const answer = await Promise.race([this.#lines.next(), late.promise]);
      if (answer === undefined) throw this.#silent();
      if (answer.error === undefined) return answer;
      const { error: code, message, hint } = answer;
      const isBusy = code === 'TRACK_BUSY';
      throw new TrackError(isBusy ? 'TRACK_BUSY' : 'TRACK_STATE', String(message), {
        hint: String(hint),
      });
    } finally {
      timer.cancel();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lines[Symbol.asyncDispose]();
  }

  #silent(): EnvError {
    const message = `the export behind ${this.#path} does not answer any more`;
    return new EnvError('ENV_CLOSED', message, { hint: 'See whether it still runs.' });
  }
}
