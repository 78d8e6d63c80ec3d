/** Removes what was left over: by writers that died, and by earlier runs that were cut short. */
import { ObjectError } from '../objects/index.ts';
import type { Collection } from './gc.ts';
import { listedParity, sweepParity } from './gc-parity.ts';
import { presentSessions } from './gc-sessions.ts';
import type { LogState } from './log-state.ts';
import { packKey } from './pack-file.ts';
import { segmentKey } from './segment.ts';
import { type FoundSession, findSessions } from './session.ts';

export class GcSweep {
  readonly #run: Collection;

  constructor(run: Collection) {
    this.#run = run;
  }

  async all(): Promise<void> {
    const { env, objects } = this.#run.parts;
    // First what is there, then whose it may be: a pack is announced before it is there.
    const packs = await this.#ids('packs/');
    const segments = await this.#ids('index/');
    const parity = await listedParity(this.#run);
    const { own, waitMs } = this.#run;
    const { alive, dead } = await presentSessions(env, objects, own, waitMs);
    const deadPins = await this.#deadPins();
    await this.#run.toNewest();
    if (alive.length === 0) await this.#removeUnfinished();
    await this.#removeFenced(packs, segments);
    await sweepParity(this.#run, parity);
    const kept = new Set(alive.flatMap(({ state }) => state.packs));
    const candidates = packs.filter((pack) => !kept.has(pack));
    // A segment is announced by nobody: while somebody writes, none is taken for left over.
    if (alive.length === 0) candidates.push(...segments);
    await this.#fence(candidates, new Set(segments), dead);
    await this.#run.removeObjects(deadPins.flatMap(({ keys }) => keys));
  }

  async #deadPins(): Promise<readonly FoundSession[]> {
    const { own, waitMs, deadReaders, options } = this.#run;
    const { env, objects } = this.#run.parts;
    const pins =
      options.breakPins === true
        ? await findSessions(objects, 'pins/')
        : (await presentSessions(env, objects, own, waitMs, 'pins/')).dead;
    for (const { state } of pins) deadReaders.add(state.writer);
    return pins;
  }

  async #ids(folder: string): Promise<string[]> {
    const ids: string[] = [];
    for await (const { key } of this.#run.parts.objects.list(folder)) {
      const id = key.slice(key.lastIndexOf('/') + 1);
      if (/^[0-9a-f]{64}$/.test(id)) ids.push(id);
    }
    return ids;
  }

  /** Needs no room: on a full disk this comes first. */
  async #removeUnfinished(): Promise<void> {
    const { report } = this.#run;
    try {
      const swept = await this.#run.parts.objects.locks?.sweep();
      if (swept === undefined) return;
      report.unfinishedFiles += swept.files;
      report.freedBytes += swept.bytes;
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }

  /** The log says already that these never come back. */
  async #removeFenced(packs: readonly string[], segments: readonly string[]): Promise<void> {
    const { state } = this.#run.parts.log;
    const fenced = (id: string) => state.fencedObjects.has(id) && !this.#isNamed(state, id);
    const keys = [...packs.filter(fenced).map(packKey), ...segments.filter(fenced).map(segmentKey)];
    if (keys.length === 0) return;
    this.#run.report.orphans += keys.length;
    await this.#run.parts.log.settle();
    await this.#run.removeObjects(keys);
  }

  #isNamed(state: LogState, id: string): boolean {
    return state.segments.has(id) || this.#named(state).has(id);
  }

  #known: { readonly sequence: number; readonly named: Set<string> } | undefined;

  #named(state: LogState): Set<string> {
    if (this.#known?.sequence !== state.sequence) {
      this.#known = { sequence: state.sequence, named: this.#run.parts.sync.named(state) };
    }
    return this.#known.named;
  }

  /** Says in the log that these never come into it, then removes them. */
  async #fence(
    candidates: readonly string[],
    segments: ReadonlySet<string>,
    dead: readonly FoundSession[],
  ): Promise<void> {
    const { log } = this.#run.parts;
    const { report } = this.#run;
    const sessions = dead.map(({ state }) => state.writer);
    const orphans = () =>
      candidates.filter((id) => !log.state.fencedObjects.has(id) && !this.#isNamed(log.state, id));
    if (sessions.length === 0 && orphans().length === 0) return;
    let objects: readonly string[] = [];
    await log.append(async (state) => {
      await this.#run.syncTo(state);
      objects = orphans().slice(0, OBJECTS_MAX);
      return { type: 'fence', sessions, objects, generation: state.generation };
    });
    report.orphans += objects.length;
    report.deadSessions += sessions.length;
    const keyOf = (id: string) => (segments.has(id) ? segmentKey(id) : packKey(id));
    await this.#run.removeObjects(objects.map(keyOf));
    await this.#run.removeObjects(dead.flatMap(({ keys }) => keys));
  }
}

/** Named in one entry; what is beyond waits for the next run. */
const OBJECTS_MAX = 50_000;
