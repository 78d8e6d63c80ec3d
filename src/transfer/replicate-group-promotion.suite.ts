/** Promotes a group of two volumes under a seed, by plan or by force, through faults and cuts. */
import assert from 'node:assert/strict';
import {
  Draws,
  hash32,
  type PlantedFault,
  type SimulatedDisk,
  simulatedEnv,
  type World,
} from '../../sim/index.ts';
import { type Env, equalBytes, FerryError } from '../core/index.ts';
import { WriteGate } from '../device/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { AgentAuthority, keepReplica, Mandate, Provider } from './replicate/index.ts';
import { replicaFolder } from './replicate/provider/new-replica.ts';
import { readAuthority } from './replicate/provider/replica-authority.ts';
import { BLOCK, makePlace, makeSnapshotIn, presentOf, SIZE } from './replicate.suite.ts';
import { deviceOf, digestOf, pause, TrackedModel } from './replicate-model.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const NAMES = ['log', 'vol'] as const;
const INTERVAL_MS = 20;
const FOLDER = '/agent';

export type GroupPromotionOptions = {
  readonly crashChance?: number;
  /** Part of a path: the first rename there, once the promotion has begun, fails. */
  readonly failsAt?: string;
};

export type GroupPromotionOutcome = {
  readonly isForced: boolean;
  readonly crashes: number;
  /** At the first try, which may have been cut off. */
  readonly wasAtOnce: boolean;
};

/** Where it is decided that the group is promoted. */
export const DECISION = 'promoted.json';
/** Where the authority of a member lies. */
export const authorityOf = (name: string) => `${replicaFolder(name)}/authority.json`;

/** Throws what was found. */
export async function simulateGroupPromotion(
  seed: number,
  { crashChance = 1 / 60, failsAt }: GroupPromotionOptions = {},
): Promise<GroupPromotionOutcome> {
  const world = simulatedEnv(seed);
  const run = new GroupRun(world, seed);
  const moments: { disk: SimulatedDisk; event: number }[] = [];
  const draws = new Draws(seed, 98);
  await world.runObserved(
    () => run.all(failsAt),
    (event) => {
      if (run.hasBegun && draws.chance(crashChance)) {
        moments.push({ disk: world.disk.crash(hash32(seed, event)), event });
      }
      return 'go-on';
    },
  );
  for (const { disk, event } of moments) {
    const after = simulatedEnv(hash32(seed, event, 3), { disk });
    await after.run(() => run.judge(after.env, `seed ${seed}, power cut after event ${event}`));
  }
  const { isForced, wasAtOnce } = run;
  return { isForced, wasAtOnce, crashes: moments.length };
}

class GroupRun {
  hasBegun = false;
  wasAtOnce = false;
  readonly isForced: boolean;
  readonly #world: World;
  readonly #draws: Draws;
  readonly #models: readonly TrackedModel[];
  #gates: readonly WriteGate[] = [];
  #lives = 0;
  #promotedCut = 0;
  #provider: Provider | undefined;
  #killProvider = () => {};

  constructor(world: World, seed: number) {
    this.#world = world;
    this.#draws = new Draws(seed, 94);
    this.isForced = this.#draws.chance(0.5);
    this.#models = NAMES.map(() => new TrackedModel(world.env));
  }

  async all(failsAt: string | undefined): Promise<void> {
    const { env, net, disk } = this.#world;
    await makePlace(env);
    await env.files.makeDirectory(FOLDER);
    this.#startProvider();
    const killAgent = await this.#startAgent();
    await this.#write(() => this.#models.every(({ acknowledged }) => acknowledged > 0));
    this.hasBegun = true;
    let planted: PlantedFault | undefined;
    if (failsAt !== undefined) {
      planted = disk.inject({
        number: 1,
        operation: 'rename',
        pathPart: failsAt,
        code: 'ENV_NO_SPACE',
      });
    }
    const first = this.#promote();
    let isOver = false;
    const over = first.finally(() => {
      isOver = true;
    });
    await this.#write(() => isOver || this.#draws.chance(0.01));
    const isRestarted = failsAt === undefined && this.#draws.chance(0.5);
    if (isRestarted) this.#restartProvider();
    else if (this.#draws.chance(0.3)) net.breakNext(this.#draws.below(20_000));
    this.wasAtOnce = (await Promise.race([over, pause(env, isRestarted ? 500 : 20_000)])) === true;
    const isDecided = this.wasAtOnce || (planted?.met === true && failsAt !== DECISION);
    await this.#write(() => this.#draws.chance(0.02));
    if (failsAt === undefined) this.#restartProvider();
    killAgent();
    await this.#settle();
    // Nothing was acknowledged at the agent after that.
    if (this.isForced || !isDecided) return;
    for (const { cuts, content } of this.#models) {
      const isWhole = equalBytes(cuts[this.#promotedCut]!, content);
      assert.ok(isWhole, 'a planned move has lost what its agent acknowledged');
    }
  }

  /** By force in the end: all are promoted, and hold one cut. */
  async #settle(): Promise<void> {
    const { env } = this.#world;
    const deadlineMs = this.#world.nowMs + 60_000;
    while (!(await this.#promote(true))) {
      assert.ok(this.#world.nowMs < deadlineMs, 'the group cannot be promoted');
      await pause(env, 100);
    }
    this.#killProvider();
    await this.judge(env, 'in the end', true);
  }

  /** All are promoted or none, also by their own files once they were opened; at one cut. */
  async judge(env: Env, where: string, mustBe = false): Promise<void> {
    const objects = await directoryStore(env.files, '/repo', env.random);
    await using repository = await Repository.open(env, objects);
    const makeSnapshot = makeSnapshotIn(env, repository);
    await using provider = new Provider({ env, repository, directory: '/replica', makeSnapshot });
    const contents: Uint8Array[] = [];
    for (const name of NAMES) {
      contents.push(await presentOf(await provider.replica(name, 'agent', SIZE)));
    }
    const promoted: boolean[] = [];
    for (const name of NAMES) {
      const { promotion } = await readAuthority(env, `/replica/${replicaFolder(name)}`);
      promoted.push(promotion !== undefined);
    }
    assert.equal(new Set(promoted).size, 1, `${where}: promoted are ${promoted.join()}`);
    assert.ok(promoted[0] || !mustBe, `${where}: nothing is promoted`);
    // One of them may have been cut alone, last: for its branch, once it was fenced.
    const common = Math.min(...this.#models.map(({ cuts }) => cuts.length));
    const cut = this.#models[0]!.cuts.findLastIndex(
      (_, number) =>
        number < common &&
        this.#models.every(({ cuts }, at) => equalBytes(cuts[number]!, contents[at]!)),
    );
    assert.ok(cut >= 0, `${where}: what is there was at no cut of both`);
    this.#promotedCut = cut;
  }

  async #promote(isForced = this.isForced): Promise<boolean> {
    if (this.#provider === undefined) return false;
    try {
      const promoted = await this.#provider.promote('vol', { isForced, isAgentDead: false });
      return promoted.missing?.length === 0;
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      return false;
    }
  }

  async #write(isOver: () => boolean): Promise<void> {
    const { env } = this.#world;
    while (!isOver()) {
      for (const gate of this.#gates) this.#writeTo(gate);
      await pause(env, this.#draws.below(20));
    }
  }

  #writeTo(gate: WriteGate): void {
    const bytes = new Uint8Array(BLOCK).fill(1 + this.#draws.below(255));
    const offsetBytes = this.#draws.below(SIZE / BLOCK) * BLOCK;
    const write = async () => await gate.write(bytes, offsetBytes, 0);
    write().catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error; // It was stopped.
    });
  }

  #startProvider(): void {
    this.#provider = undefined;
    const { env, kill } = this.#world.startProcess(`provider-${++this.#lives}`);
    this.#killProvider = kill;
    void serve(env, 0).then((provider) => {
      this.#provider = provider;
    });
  }

  #restartProvider(): void {
    this.#killProvider();
    this.#startProvider();
  }

  async #startAgent(): Promise<() => void> {
    const { env, kill } = this.#world.startProcess('agent');
    const place = { directory: FOLDER, makeDirectory: () => env.files.makeDirectory(FOLDER) };
    const gates: WriteGate[] = [];
    const kept: { name: string; source: TrackedModel; mandate: Mandate }[] = [];
    for (const [at, name] of NAMES.entries()) {
      const source = this.#models[at]!;
      const authority = await AgentAuthority.open(env, place, name);
      const gate = new WriteGate(deviceOf(source));
      const digest = () => digestOf(env, source.content);
      const mandate = new Mandate({ clock: env.clock, authority, gate, digestOf: digest });
      gates.push(gate);
      kept.push({ name, source, mandate });
    }
    this.#gates = gates;
    const [first, ...others] = kept;
    const options = { ...first!, group: { name: 'group', others }, intervalMs: INTERVAL_MS };
    keepReplica(env, { ...options, connect: () => connect(env) }).catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error; // Fenced, in the end.
    });
    return kill;
  }
}
