/** Runs an agent and a provider under a seed: links that break, processes that are killed. */
import assert from 'node:assert/strict';
import { Draws, hash32, type SimulatedDisk, simulatedEnv, type World } from '../../sim/index.ts';
import { type Address, type Env, equalBytes, hasCode, hmac, sha256, toHex } from '../core/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { dialSession, SessionHost } from '../wire/index.ts';
import { Agent, type EpochSource, keepReplica, Provider } from './replicate/index.ts';
import { BLOCK, makePlace, makeSnapshotIn, presentOf, SIZE } from './replicate.suite.ts';
import { digestOf, pause, TrackedModel } from './replicate-model.suite.ts';

/** What a test may make wrong; each must be found. */
export type Plant = {
  readonly provider?: (env: Env) => Env;
  readonly source?: (source: TrackedModel) => EpochSource;
};

const ADDRESS = { kind: 'tcp', host: 'provider', port: 7007 } as const satisfies Address;
const ROUNDS = 16;
const TEXT = Uint8Array.from(
  Buffer.concat(Array.from({ length: 512 }, (_, at) => sha256(Uint8Array.of(at, at >> 8)))),
);
const INTERVAL_MS = 20;
const UDP_HOST = '10.0.0.1';
const BAD_DATAGRAMS = { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.02 };
const GOOD_DATAGRAMS = { loss: 0, duplicate: 0, reorder: 0, corrupt: 0 };
const DUE_BYTES = 20_000;

/** One volume, or two that are cut at one moment. */
export type Models = readonly [TrackedModel, ...TrackedModel[]];
const NAMES = ['vol', 'log'];

type Moment = {
  readonly disk: SimulatedDisk;
  /** Of each volume. */
  readonly acknowledged: readonly number[];
  readonly event: number;
};

export type Outcome = {
  readonly digest: string;
  readonly cuts: number;
  readonly crashes: number;
  readonly datagrams: number;
  /** How often the provider's disk was replaced by an older copy that lacked epochs. */
  readonly goneBack: number;
};

export type SimulateOptions = {
  readonly crashChance?: number;
  readonly isGroup?: boolean;
  /** Data goes by datagrams, some of which are lost, doubled, late or changed. */
  readonly isUdp?: boolean;
  /** The provider's disk is replaced by an older copy of itself now and then. */
  readonly goesBack?: boolean;
};

/** Faults for a while, then none: both ends must become equal. Throws what was found. */
export async function simulate(
  seed: number,
  plant: Plant = {},
  { crashChance = 1 / 80, isGroup = false, isUdp = false, goesBack = false }: SimulateOptions = {},
): Promise<Outcome> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 3 === 0 });
  const model = new TrackedModel(world.env);
  const models: Models = isGroup ? [model, new TrackedModel(world.env)] : [model];
  const run = new Run(world, seed, models, { ...plant, isUdp, goesBack });
  if (isUdp) world.net.datagrams.setFaults(BAD_DATAGRAMS);
  let datagrams = 0;
  world.net.datagrams.onSend = () => {
    datagrams += 1;
  };
  const moments: Moment[] = [];
  const draws = new Draws(seed, 98);
  await world.runObserved(
    () => run.all(),
    (event) => {
      if (run.isMade && draws.chance(crashChance)) {
        const disk = world.disk.crash(hash32(seed, event));
        moments.push({ disk, acknowledged: run.acknowledged, event });
      }
      return 'go-on';
    },
  );
  for (const moment of moments) await judge(seed, moment, models);
  const cuts = model.cuts.length - 1;
  const { goneBack } = run;
  return { digest: world.digest(), cuts, crashes: moments.length, datagrams, goneBack };
}

type Options = Plant & { readonly isUdp: boolean; readonly goesBack: boolean };

/** Of an older provider, and what had been acknowledged of each volume. */
type Copy = { readonly disk: SimulatedDisk; readonly acknowledged: readonly number[] };

class Run {
  isMade = false;
  goneBack = 0;
  #noticed = 0;
  /** The provider went back, and its agent may still hear of what it had done before. */
  #isOlder = false;
  #copy: Copy | undefined;
  readonly #world: World;
  readonly #draws: Draws;
  readonly #models: Models;
  readonly #plant: Options;
  #isQuiet = false;
  #lives = 0;

  constructor(world: World, seed: number, models: Models, plant: Options) {
    this.#world = world;
    this.#draws = new Draws(seed, 97);
    this.#models = models;
    this.#plant = plant;
  }

  /** Of each volume: what its provider must have. */
  get acknowledged(): readonly number[] {
    return this.#models.map(({ acknowledged }, at) =>
      this.#isOlder ? Math.min(acknowledged, this.#copy!.acknowledged[at]!) : acknowledged,
    );
  }

  async all(): Promise<void> {
    const { env } = this.#world;
    await makePlace(env);
    this.isMade = true;
    let provider = this.#startProvider();
    let agent = this.#startAgent();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (let count = this.#draws.below(12); count > 0; count -= 1) {
        this.#write();
        await pause(env, this.#draws.below(15));
      }
      if (this.#draws.chance(0.25)) {
        provider.kill();
        provider = this.#startProvider();
      }
      if (this.#draws.chance(0.15)) {
        agent.kill();
        agent = this.#startAgent();
      }
      if (this.#plant.goesBack && this.#draws.chance(0.3)) {
        await this.#goOn();
        provider.kill();
        this.#goBack();
        provider = this.#startProvider();
      }
      if (this.#draws.chance(0.4)) this.#world.net.breakNext(this.#draws.below(60_000));
    }
    this.#isQuiet = true;
    this.#world.net.datagrams.setFaults(GOOD_DATAGRAMS);
    this.#write(); // An agent with nothing to send would not look whether its provider went back.
    const deadlineMs = this.#world.nowMs + 900_000;
    while (!this.#models.every((model) => model.isClean)) {
      assert.ok(this.#world.nowMs < deadlineMs, 'the ends do not become equal');
      if (agent.failure !== undefined) throw agent.failure;
      await pause(env, 50);
    }
    agent.kill();
    provider.kill();
    await checkEqual(env, ...this.#models);
    assert.ok(
      this.#noticed > 0 || this.goneBack === 0,
      'nobody noticed that the provider went back',
    );
  }

  /** Until the provider has epochs that the copy lacks, unless faults keep them away for long. */
  async #goOn(): Promise<void> {
    const [model] = this.#models;
    const wanted = (this.#copy?.acknowledged[0] ?? 0) + 2;
    for (let count = 0; count < 60 && model.acknowledged < wanted; count += 1) {
      this.#write();
      await pause(this.#world.env, 50);
    }
  }

  /** To the copy of before, if there is one; then a new one is made. */
  #goBack(): void {
    const { disk } = this.#world;
    if (this.#copy !== undefined) {
      disk.goBack(['repo', 'replica'], this.#copy.disk);
      // The copy may hold one that was not acknowledged yet.
      if (this.#models[0].acknowledged > this.#copy.acknowledged[0]! + 1) this.goneBack += 1;
      this.#isOlder = true;
    }
    const { acknowledged } = this;
    this.#copy = { disk: disk.crash(this.#world.eventCount), acknowledged };
  }

  #write(): void {
    for (let count = 1 + this.#draws.below(2); count > 0; count -= 1) {
      const bytes = new Uint8Array(1 + this.#draws.below(3 * BLOCK));
      if (this.#draws.chance(0.4)) bytes.set(this.#printed(bytes.byteLength));
      else if (this.#draws.chance(0.8)) {
        for (let at = 0; at < bytes.byteLength; at += 64) bytes[at] = 1 + this.#draws.below(255);
      }
      const model = this.#models[this.#draws.below(this.#models.length)]!;
      model.write(this.#draws.below(SIZE - bytes.byteLength), bytes);
    }
  }

  /** From somewhere in a text that all writers copy from, with a misprint. */
  #printed(lengthBytes: number): Uint8Array {
    const from = this.#draws.below(TEXT.byteLength - lengthBytes);
    const bytes = TEXT.slice(from, from + lengthBytes);
    bytes[this.#draws.below(lengthBytes)] = this.#draws.below(256);
    return bytes;
  }

  #startProvider(): { kill(): void } {
    this.#lives += 1;
    const { env, kill } = this.#world.startProcess(`provider-${this.#lives}`);
    const planted = this.#plant.provider?.(env) ?? env;
    const { isUdp } = this.#plant;
    void serve(planted, this.#draws.below(3), isUdp).catch((error: unknown) => {
      if (!this.#isQuiet) return; // Killed, or about to be.
      throw error;
    });
    return { kill };
  }

  #startAgent(): { kill(): void; readonly failure: unknown } {
    this.#lives += 1;
    const { env, kill } = this.#world.startProcess(`agent-${this.#lives}`);
    const { source: planted = (model) => model } = this.#plant;
    const kept = this.#models.map((model, at) => ({ name: NAMES[at]!, source: planted(model) }));
    const [first, ...others] = kept;
    const group = others.length > 0 ? { name: 'group', others } : undefined;
    const state = { kill, failure: undefined as unknown };
    keepReplica(env, {
      ...{ ...first!, group, intervalMs: INTERVAL_MS },
      onConnected: () => {
        for (const [at, model] of this.#models.entries())
          model.acknowledged = this.acknowledged[at]!;
        this.#isOlder = false;
      },
      onTrouble: (error) => {
        if (hasCode(error, 'REPLICATE_WENT_BACK')) this.#noticed += 1;
      },
      connect: () => connect(env, this.#plant.isUdp),
    }).catch((error: unknown) => {
      state.failure = error;
    });
    return state;
  }
}

export function connect(env: Env, isUdp = false): Promise<Agent> {
  return Agent.connect(async (handlers) => {
    const { session } = await dialSession({
      ...{ env, identity: 'provider', handlers, streamLanes: 2, lane: isUdp ? 'udp' : 'tls' },
      ...{ udpHost: UDP_HOST },
      dial: async () => Object.assign(await env.net.connect(ADDRESS, 5_000), { exportKey }),
    });
    return session;
  });
}

export async function serve(env: Env, streamLanes: number, isUdp = false): Promise<Provider> {
  const objects = await directoryStore(env.files, '/repo', env.random);
  const repository = await Repository.open(env, objects);
  const makeSnapshot = makeSnapshotIn(env, repository);
  const provider = new Provider({
    ...{ env, repository, directory: '/replica', makeSnapshot, journalBytesDue: DUE_BYTES },
  });
  const host = new SessionHost({
    ...{ env, streamLanes, lane: isUdp ? 'udp' : 'tls' },
    admit: () => ({ identity: 'agent', open: (session) => provider.open(session, 'agent') }),
  });
  await env.net.listen(ADDRESS, (stream) => host.accept(Object.assign(stream, { exportKey })));
  if (isUdp) await host.listenUdp(UDP_HOST, ADDRESS.port);
  return provider;
}

/** In the simulated world nothing is secret: both ends have the same keys. */
function exportKey(lengthBytes: number, label: string, context: Uint8Array): Uint8Array {
  const key = new TextEncoder().encode(label);
  return Buffer.concat([hmac(key, context), hmac(key, sha256(context))]).subarray(0, lengthBytes);
}

/** Once faults have stopped, and all is acknowledged. */
export async function checkEqual(env: Env, ...models: Models): Promise<void> {
  const objects = await directoryStore(env.files, '/repo', env.random);
  await using repository = await Repository.open(env, objects);
  const makeSnapshot = makeSnapshotIn(env, repository);
  await using provider = new Provider({ env, repository, directory: '/replica', makeSnapshot });
  const tags: (readonly string[])[] = [];
  for (const [at, model] of models.entries()) {
    const replica = await provider.replica(NAMES[at]!, 'agent', SIZE);
    assert.ok(equalBytes(await presentOf(replica), model.content), 'the ends are not equal');
    const { digest, id } = await replica.assemble();
    assert.equal(digest, toHex(await digestOf(env, model.content)), 'digests differ');
    const newest = repository.latest(NAMES[at]!);
    assert.equal(newest?.id, id);
    tags.push(newest!.tags.slice(-1));
  }
  assert.equal(new Set(tags.map(String)).size, 1, `newest snapshots of a group: ${tags.join()}`);
}

/** What the provider finds after a power cut is a cut of the volumes, and not an older one. */
async function judge(seed: number, moment: Moment, models: Models): Promise<void> {
  const { disk, acknowledged, event } = moment;
  const where = `seed ${seed}, power cut after event ${event}`;
  const world = simulatedEnv(hash32(seed, event, 3), { disk });
  await world.run(async () => {
    const { env } = world;
    const objects = await directoryStore(env.files, '/repo', env.random);
    await using repository = await Repository.open(env, objects);
    const makeSnapshot = makeSnapshotIn(env, repository);
    await using provider = new Provider({ env, repository, directory: '/replica', makeSnapshot });
    const contents: Uint8Array[] = [];
    for (const [at] of models.entries()) {
      contents.push(await presentOf(await provider.replica(NAMES[at]!, 'agent', SIZE)));
    }
    // Cuts of volumes that are cut at one moment have one number.
    const found = models[0].cuts.findLastIndex((_, number) =>
      models.every(({ cuts }, at) => equalBytes(cuts[number]!, contents[at]!)),
    );
    assert.ok(found >= 0, `${where}: what is there was at no cut`);
    const least = Math.max(...acknowledged);
    assert.ok(found >= least, `${where}: cut ${found} after ${least}`);
  });
}
