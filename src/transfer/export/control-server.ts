/** The control socket of a running export: others ask for cuts, and read that moment. */
import { type Env, FerryError, type Listener, type Stream } from '../../core/index.ts';
import { DeviceError } from '../../device/index.ts';
import type { NbdServer } from '../../nbd/index.ts';
import {
  type ChangedRange,
  type Cut,
  type DirtyMap,
  type Holding,
  type Identity,
  MOMENT_PREFIX,
  type Moment,
  markOf,
  type Since,
  type TrackedDevice,
  toldUpTo,
} from '../../track/index.ts';
import { ASKERS_MAX, RANGES_PER_PAGE } from './limits.ts';
import { Lines, type Message } from './lines.ts';
import { momentSocket } from './places.ts';

export type ControlOptions = {
  readonly path: string;
  readonly device: TrackedDevice;
  /** Of the source, when it was opened. */
  readonly source: Identity | undefined;
  /** Tells one source of a volume from another, see `Snapshot.origin`. */
  readonly origin: string;
  /** Where moments keep what is overwritten. */
  readonly directory: string;
  readonly roomBytesMax: number;
  /** Writes the profile of accesses, as it is now, beside the tracker's log. */
  readonly saveProfile: () => Promise<void>;
  /** How it stands with its providers, for people and programs. */
  readonly providers: () => readonly unknown[];
  /** Why writes are refused, if they are. */
  readonly refusal: () => DeviceError | undefined;
  /** Another side writes the volume: writes are refused from now on. */
  readonly refuse: (error: DeviceError) => void;
  /** Told about each conversation that ended badly; for logs. */
  readonly onTrouble: (what: string, error: unknown) => void;
};

/*
 * The protocol: one JSON object a line. The asker speaks, and waits for one answer:
 *   { ask: 'who' }                      the volume, its source, its tracker
 *   { ask: 'cut', consumer, since, alignBytes }
 *                                       a moment to be read at `uri`, and whether its changes since
 *                                       that snapshot are known; one cut for a conversation, named
 *                                       by its `mark`, which may come back in a later `since`
 *   { ask: 'page' }                     the next changed ranges, none at the end
 *   { ask: 'state' }                    whether the moment can still be read
 *   { ask: 'finish', snapshot, digest } the cursor moves to the cut; without snapshot it stays
 *   { ask: 'mark', consumer }           a cut, and at once the cursor of an NBD client there
 *   { ask: 'forget', consumer }
 *   { ask: 'fence', message, hint }     writes are refused with that from now on
 *   { ask: 'profile' }                  the profile of accesses is in its file as it is now
 *   { ask: 'providers' }                how it stands with each, and why writes are refused
 * An error is { error: code, message, hint }. A conversation that ends without `finish` has failed.
 */
export class ControlServer implements AsyncDisposable {
  readonly #env: Env;
  readonly #options: ControlOptions;
  readonly #conversations = new Set<Promise<void>>();
  readonly #open = new Set<Lines>();
  #listener: Listener | undefined;
  #moments = 0;

  private constructor(env: Env, options: ControlOptions) {
    this.#env = env;
    this.#options = options;
  }

  static async start(env: Env, options: ControlOptions): Promise<ControlServer> {
    const server = new ControlServer(env, options);
    server.#listener = await env.net.listen({ kind: 'unix', path: options.path }, (stream) =>
      server.#accept(stream),
    );
    return server;
  }

  /** Ends all conversations: cuts that are in use have failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener?.close();
    for (const lines of this.#open) await lines[Symbol.asyncDispose]();
    await Promise.all(this.#conversations);
  }

  #accept(stream: Stream): void {
    if (this.#conversations.size >= ASKERS_MAX) {
      stream.destroy();
      return;
    }
    const conversation = this.#converse(new Lines(stream)).catch((error: unknown) =>
      this.#options.onTrouble('control', error),
    );
    this.#conversations.add(conversation);
    void conversation.finally(() => this.#conversations.delete(conversation));
  }

  async #converse(lines: Lines): Promise<void> {
    this.#open.add(lines);
    const number = this.#moments++;
    await using conversation = new Conversation(this.#env, this.#options, number);
    try {
      for (;;) {
        const message = await lines.next();
        if (message === undefined) return;
        lines.send(await answered(() => conversation.answer(message)));
      }
    } finally {
      this.#open.delete(lines);
      await lines[Symbol.asyncDispose]();
    }
  }
}

async function answered(answer: () => Promise<Message>): Promise<Message> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    const { code, message, hint } = error;
    return { error: code, message, hint };
  }
}

class Conversation implements AsyncDisposable {
  readonly #env: Env;
  readonly #options: ControlOptions;
  readonly #number: number;
  #cut: Cut | undefined;
  #moment: Moment | undefined;
  #server: NbdServer | undefined;
  #map: DirtyMap | undefined;
  #ranges: Iterator<ChangedRange> | undefined;
  #consumer = '';

  constructor(env: Env, options: ControlOptions, number: number) {
    this.#env = env;
    this.#options = options;
    this.#number = number;
  }

  async answer(message: Message): Promise<Message> {
    const { tracker } = this.#options.device;
    switch (message.ask) {
      case 'who':
        return this.#who();
      case 'cut':
        return this.#begin(message);
      case 'page':
        return { ranges: this.#page() };
      case 'state':
        return this.#state();
      case 'finish':
        return this.#finish(holdingOf(message));
      case 'mark':
        return this.#mark(textOf(message.consumer));
      case 'forget':
        await tracker.forget(textOf(message.consumer));
        return {};
      case 'fence':
        return this.#fence(textOf(message.message), textOf(message.hint));
      case 'profile':
        await this.#options.saveProfile();
        return {};
      case 'providers':
        return this.#providers();
      default:
        throw new TypeError(`an asker wants ${JSON.stringify(message.ask)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  #who(): Message {
    const { device, source, origin } = this.#options;
    const { volume, id, epoch, abandoned } = device.tracker;
    const { sizeBytes } = device;
    const isTracked = abandoned === undefined;
    return { volume, sizeBytes, tracker: id, epoch, isTracked, origin, source: source ?? null };
  }

  #providers(): Message {
    const { providers, refusal } = this.#options;
    return { providers: providers(), refusal: refusal()?.message ?? null };
  }

  async #begin({ consumer, since, alignBytes, readsAll }: Message): Promise<Message> {
    if (this.#cut !== undefined) throw new TypeError('a second cut in one conversation');
    const [name, from] = [textOf(consumer), sinceOf(since)];
    const { device, directory, roomBytesMax, path } = this.#options;
    const { cut, moment } = device.freeze({
      files: this.#env.files,
      path: `${directory}/${MOMENT_PREFIX}${this.#number}`,
      roomBytesMax,
    });
    this.#cut = cut;
    this.#moment = moment;
    this.#consumer = name;
    const { map, lost } = await toldUpTo(device.tracker, cut, name, from);
    if (map !== undefined) {
      this.#map = map;
      this.#ranges = map.ranges();
      const isLimited = readsAll !== true;
      if (isLimited) moment.limitTo(widened(map, Number(alignBytes), device.sizeBytes));
    }
    const address = { kind: 'unix', path: momentSocket(path, this.#number) } as const;
    const { serve } = await import('../../nbd/index.ts'); // A backup that asks needs none of it.
    this.#server = await serve(this.#env, { address, exports: new Map([['', moment]]) });
    const uri = this.#server.uriOf('');
    const told = map === undefined ? { ...lost } : { unsureRegions: map.unsureCount };
    const { epoch } = cut;
    const mark = markOf(device.tracker, cut);
    return { epoch, mark, uri, isKnown: map !== undefined, ...told };
  }

  #state(): Message {
    const failure = this.#moment?.failure;
    const known = failure instanceof FerryError ? { code: failure.code, hint: failure.hint } : {};
    return { failure: failure?.message ?? null, ...known };
  }

  #page(): (readonly [number, number, string])[] {
    const page: (readonly [number, number, string])[] = [];
    while (this.#ranges !== undefined && page.length < RANGES_PER_PAGE) {
      const { done, value } = this.#ranges.next();
      if (done === true) break;
      page.push([value.offsetBytes, value.lengthBytes, value.kind ?? 'data']);
    }
    return page;
  }

  #fence(message: string, hint: string): Message {
    this.#options.refuse(new DeviceError('DEVICE_READ_ONLY', message, { hint }));
    return {};
  }

  async #finish(holding: Holding | undefined): Promise<Message> {
    const cut = this.#cut;
    if (cut !== undefined && holding !== undefined) {
      await this.#options.device.acknowledge(this.#consumer, cut, holding);
    }
    await this.#end();
    return {};
  }

  /** NBD clients hold no snapshots: what they are told of begins with the mark. */
  async #mark(consumer: string): Promise<Message> {
    const { device } = this.#options;
    await using cut = device.cut();
    await device.acknowledge(consumer, cut, { snapshot: null, digest: null });
    return { epoch: cut.epoch, context: `ferry:dirty/${cut.epoch}` };
  }

  async #end(): Promise<void> {
    const [server, moment, cut, map] = [this.#server, this.#moment, this.#cut, this.#map];
    this.#server = undefined;
    this.#moment = undefined;
    this.#cut = undefined;
    this.#map = undefined;
    this.#ranges = undefined;
    await server?.close(0);
    await moment?.[Symbol.asyncDispose]();
    await cut?.[Symbol.asyncDispose]();
    map?.release();
  }
}

/** Whole chunks are read, and compared: what is around a changed block is wanted too. */
function* widened(map: DirtyMap, alignBytes: number, sizeBytes: number) {
  const step = Number.isSafeInteger(alignBytes) && alignBytes > 0 ? alignBytes : sizeBytes;
  let done = 0;
  for (const { offsetBytes, lengthBytes } of map.ranges()) {
    const from = Math.max(done, Math.floor(offsetBytes / step) * step);
    done = Math.min(sizeBytes, Math.ceil((offsetBytes + lengthBytes) / step) * step);
    if (done > from) yield { offsetBytes: from, lengthBytes: done - from };
  }
}

function textOf(value: unknown): string {
  if (typeof value === 'string' && value.length > 0) return value;
  throw new TypeError(`an asker names ${JSON.stringify(value)}`);
}

function sinceOf(value: unknown): Since | undefined {
  if (value === null || value === undefined) return undefined;
  const { id, digest, mark } = value as Since;
  const since = { id: textOf(id), digest: textOf(digest) };
  return mark === undefined ? since : { ...since, mark: textOf(mark) };
}

function holdingOf({ snapshot, digest }: Message): Holding | undefined {
  if (snapshot === undefined || snapshot === null) return undefined;
  return { snapshot: textOf(snapshot), digest: textOf(digest) };
}
