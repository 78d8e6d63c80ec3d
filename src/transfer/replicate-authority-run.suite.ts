/** Both sides of a volume in a simulated world, and what must hold of them whatever they do. */
import assert from 'node:assert/strict';
import { Draws, hash32, simulatedEnv, type World } from '../../sim/index.ts';
import { type Env, equalBytes, FerryError, hasCode } from '../core/index.ts';
import { WriteGate } from '../device/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import {
  type AgentAuthority,
  bringBack,
  checkNotOffered,
  Lease,
  Mandate,
  openPromoted,
  type Provider,
  Replication,
} from './replicate/index.ts';
import { type AuthorityState, readAuthority } from './replicate/provider/replica-authority.ts';
import { BLOCK, contentOf, makePlace, SIZE } from './replicate.suite.ts';
import {
  FOLDER,
  judge,
  type Moment,
  openAuthority,
  REPLICA_FOLDER,
  type Side,
} from './replicate-authority-cut.suite.ts';
import { deviceOf, digestOf, pause, TrackedModel } from './replicate-model.suite.ts';
import { checkEqual, connect, serve } from './replicate-simulation.suite.ts';

const INTERVAL_MS = 20;
/** An agent serves without an answer after so long; a supervisor starts one anew after so long. */
const START_WAIT_MS = 40;
const RESTART_MS = 300;

export type AuthorityOptions = {
  /** The agent stops without contact, and promotions by force wait for that. */
  readonly leaseMs?: number;
  /** Changes the Env of every process: a defect that must be found. */
  readonly env?: (env: Env) => Env;
  readonly crashChance?: number;
};

type Written = { readonly side: Side; readonly authority: number };
export type AuthorityOutcome = {
  readonly digest: string;
  readonly planned: number;
  readonly forced: number;
  readonly returned: number;
  readonly branches: number;
  /** Lives of an agent that served before it had heard its provider. */
  readonly alone: number;
  readonly crashes: number;
};

/** What they do: faults, promotions, ways back. All comes to rest behind it. */
export type Script = (run: AuthorityRun) => Promise<void>;

/** Throws what was found. */
export async function simulateScript(
  seed: number,
  script: Script,
  options: AuthorityOptions = {},
): Promise<AuthorityOutcome> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 3 === 0 });
  const run = new AuthorityRun(world, seed, options);
  const moments: Moment[] = [];
  const draws = new Draws(seed, 98);
  const { crashChance = 1 / 150 } = options;
  await world.runObserved(
    () => run.all(script),
    (event) => {
      if (run.isMade && draws.chance(crashChance)) {
        const disk = world.disk.crash(hash32(seed, event));
        moments.push({ disk, event, written: { ...run.written } });
      }
      return 'go-on';
    },
  );
  for (const moment of moments) await judge(seed, moment);
  return { digest: world.digest(), crashes: moments.length, ...run.counts };
}

type AgentLife = {
  readonly kill: () => void;
  gate: WriteGate | undefined;
  authority: AgentAuthority | undefined;
  failure: unknown;
};
type ProviderLife = { readonly kill: () => void; provider: Provider | undefined };
/** Both sides of one volume in a world; a script has them do things. */
export class AuthorityRun {
  isMade = false;
  readonly counts = { planned: 0, forced: 0, returned: 0, branches: 0, alone: 0 };
  readonly written: Record<Side, number> = { agent: 1, provider: 1 };
  readonly world: World;
  readonly draws: Draws;
  readonly #seed: number;
  readonly #options: AuthorityOptions;
  readonly #model: TrackedModel;
  readonly #log: Written[] = [];
  readonly #branches = new Set<string>();
  /** What the promoted volume must hold. */
  #expected: Uint8Array | undefined;
  /** Since which promotion. */
  #promotion = '';
  #lives = 0;
  #agent!: AgentLife;
  #provider!: ProviderLife;

  constructor(world: World, seed: number, options: AuthorityOptions) {
    this.world = world;
    this.#seed = seed;
    this.draws = new Draws(seed, 95);
    this.#options = options;
    this.#model = new TrackedModel(world.env);
  }

  async all(script: Script): Promise<void> {
    const { env } = this.world;
    await makePlace(env);
    await env.files.makeDirectory(FOLDER);
    await env.files.syncDirectory('/');
    this.isMade = true;
    this.#startProvider();
    this.#startAgent();
    await script(this);
    await this.#settle();
    this.#judgeLog();
  }

  /** Without faults: the volume ends at the agent, and both sides are equal. */
  async #settle(): Promise<void> {
    const deadlineMs = this.world.nowMs + 60_000;
    this.restartProvider();
    this.restartAgent();
    for (;;) {
      assert.ok(this.world.nowMs < deadlineMs, 'the volume does not come back to its agent');
      await pause(this.world.env, 200);
      const { failure, authority } = this.#agent;
      if (hasCode(failure, 'REPLICATE_FENCED')) await this.reverse();
      else if (failure !== undefined) throw failure;
      else if (authority?.standing.role === 'writes' && this.#model.isClean) break;
    }
    this.#agent.kill();
    this.#provider.kill();
    await checkEqual(this.world.env, this.#model);
  }

  writeAtAgent(): void {
    const { gate, authority } = this.#agent;
    if (gate === undefined || authority === undefined) return;
    const bytes = new Uint8Array(BLOCK).fill(1 + this.draws.below(255));
    const offsetBytes = this.draws.below(SIZE / BLOCK) * BLOCK;
    const write = async () => {
      await gate.write(bytes, offsetBytes, 0);
      const { role, authority: number } = authority.standing;
      assert.notEqual(role, 'fenced', 'a write is acknowledged behind the fence');
      this.#logged('agent', number);
    };
    write().catch(ignoreRefusal);
  }

  async writeAtProvider(): Promise<void> {
    const { env } = this.world;
    try {
      const objects = await directoryStore(env.files, '/repo', env.random);
      await using repository = await Repository.open(env, objects);
      const directory = REPLICA_FOLDER;
      await using promoted = await openPromoted(env, { repository, directory, volume: 'vol' });
      checkNotOffered('vol', promoted.authority);
      const { device, authority } = promoted;
      const content = await contentOf(device);
      this.#know(authority);
      this.#expected ??= this.#firstLook(content, authority.promotion?.isForced === true);
      assert.ok(equalBytes(content, this.#expected), 'what was written at the provider is lost');
      const bytes = new Uint8Array(1 + this.draws.below(2 * BLOCK));
      bytes.fill(1 + this.draws.below(255));
      const offsetBytes = this.draws.below(SIZE - bytes.byteLength);
      await device.write(bytes, offsetBytes, 0);
      await device.flush();
      this.#expected.set(bytes, offsetBytes);
      this.#logged('provider', authority.authority);
    } catch (error) {
      // It is written by the agent, or is being brought back.
      const usual = ['DEVICE_ACCESS', 'REPLICATE_NOT_PROMOTED', 'REPLICATE_FENCED', 'STORE_BUSY'];
      if (!(error instanceof FerryError) || !usual.includes(error.code)) throw error;
    }
  }

  #logged(side: Side, authority: number): void {
    this.#log.push({ side, authority });
    this.written[side] = Math.max(this.written[side], authority);
  }

  /** Given back, and promoted again, it is another one: its agent may have been killed. */
  #know({ promotion }: AuthorityState): void {
    const promoted = JSON.stringify([promotion?.epoch, promotion?.wallMs]);
    if (promoted !== this.#promotion) this.#expected = undefined;
    this.#promotion = promoted;
  }

  /** A cut of the agent's; after a planned move, all that it ever acknowledged. */
  #firstLook(content: Uint8Array, isForced: boolean): Uint8Array {
    const { cuts, acknowledged } = this.#model;
    this.counts[isForced ? 'forced' : 'planned'] += 1;
    if (isForced) {
      const found = cuts.findLastIndex((cut) => equalBytes(cut, content));
      assert.ok(found >= acknowledged, `what is promoted is cut ${found} of ${acknowledged}`);
    } else assert.ok(equalBytes(content, this.#model.content), 'a planned move has lost something');
    return content.slice();
  }

  promote(isForced: boolean): void {
    const { provider } = this.#provider;
    provider?.promote('vol', { isForced, isAgentDead: false }).catch(ignoreRefusal);
  }

  /** Whether the provider has offered the volume to its agent, as it knows it. */
  async isOffered(): Promise<boolean> {
    return (await this.#stateAtProvider())?.offer !== undefined;
  }

  /** Whether the provider has begun to write the volume, as it knows it. */
  async isPromoted(): Promise<boolean> {
    return (await this.#stateAtProvider())?.promotion !== undefined;
  }

  async #stateAtProvider(): Promise<AuthorityState | undefined> {
    const replica = await this.#provider.provider?.known('vol').catch(ignoreRefusal);
    return replica?.authority.state;
  }

  #startProvider(): void {
    const { env, kill } = this.world.startProcess(`provider-${++this.#lives}`);
    const life: ProviderLife = { kill, provider: undefined };
    this.#provider = life;
    const planted = this.#options.env?.(env) ?? env;
    void serve(planted, this.draws.below(3)).then((provider) => {
      life.provider = provider;
    }, ignoreRefusal);
  }

  /** Both sides are in touch, or it takes long: what was written before now is at the provider. */
  async together(): Promise<void> {
    const wanted = this.#model.cuts.length;
    for (let count = 0; count < 100 && this.#model.acknowledged < wanted; count += 1) {
      if (this.#agent.failure !== undefined) return;
      this.writeAtAgent();
      await pause(this.world.env, 50);
    }
  }

  /** The provider that was started last serves. */
  async begun(): Promise<void> {
    while (this.#provider.provider === undefined) await pause(this.world.env, 1);
  }

  restartProvider(): void {
    this.#provider.kill();
    this.#startProvider();
  }

  #startAgent(): void {
    const { env, kill } = this.world.startProcess(`agent-${++this.#lives}`);
    const life: AgentLife = { kill, gate: undefined, authority: undefined, failure: undefined };
    this.#agent = life;
    void this.#live(this.#options.env?.(env) ?? env, life).catch((error: unknown) => {
      life.failure = error;
    });
  }

  async #live(env: Env, life: AgentLife): Promise<void> {
    const authority = await openAuthority(env);
    if (authority.standing.role === 'fenced') throw authority.refusal();
    const { leaseMs } = this.#options;
    const lease = leaseMs === undefined ? undefined : new Lease(env.clock, leaseMs);
    const gate = new WriteGate(deviceOf(this.#model), lease?.permit);
    const mandate = new Mandate({
      ...{ clock: env.clock, authority, gate, digestOf: () => digestOf(env, this.#model.content) },
      ...(lease !== undefined && { lease }),
    });
    const replication = new Replication(env, {
      ...{ name: 'vol', source: this.#model, intervalMs: INTERVAL_MS, mandate },
      ...{ startWaitMs: START_WAIT_MS, connect: () => connect(env) },
    });
    try {
      await replication.begun;
      authority.check();
    } catch (error) {
      await replication.finish(0);
      if (authority.standing.role !== 'stopped') throw error;
      await pause(env, RESTART_MS);
      return await this.#live(env, life);
    }
    if (!replication.state.isConnected) this.counts.alone += 1;
    Object.assign(life, { gate, authority });
    await replication.ended;
  }

  restartAgent(): void {
    this.#agent.kill();
    this.#startAgent();
  }

  /** A power cut at one site; `restartAgent` and `restartProvider` end it. */
  kill(side: Side): void {
    (side === 'agent' ? this.#agent : this.#provider).kill();
  }

  /** Brings the volume back, unless the process is killed before: once `late` settles. */
  async reverse(late?: Promise<unknown>): Promise<void> {
    const { env, kill } = this.world.startProcess(`reverse-${++this.#lives}`);
    this.#agent.kill();
    const done = this.#bringBack(this.#options.env?.(env) ?? env).catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error;
    });
    await Promise.race([
      done,
      pause(this.world.env, 20_000),
      ...(late === undefined ? [] : [late]),
    ]);
    kill();
    this.#startAgent();
  }

  async #bringBack(env: Env): Promise<void> {
    const model = this.#model;
    const authority = await openAuthority(env);
    await using agent = await connect(env);
    const { clock } = env;
    const mandate = new Mandate({ clock, authority });
    const volume = await agent.open('vol', SIZE, mandate.claim);
    if (volume.known.promotedEpoch === undefined) return;
    await mandate.opened(volume, model).catch((error: unknown) => {
      if (!hasCode(error, 'REPLICATE_FENCED')) throw error;
    });
    await this.#checkKept(authority);
    model.isBringingBack = true;
    const { cursor } = model;
    const own = cursor?.replica === volume.replica ? model.changedSince(cursor.count) : 'all';
    model.isBringingBack = false;
    const cut = () => model.cuts.push(model.content.slice()) - 1;
    const back = await bringBack(volume, {
      ...{ device: deviceOf(model), authority, own },
      digestOf: () => {
        cut();
        return digestOf(env, model.content);
      },
    });
    if (this.#expected !== undefined) {
      assert.ok(equalBytes(model.content, this.#expected), 'what comes back is not what was there');
    }
    this.#expected = undefined;
    this.counts.returned += 1;
    model.acknowledged = cut();
    model.cursor = { replica: volume.replica, epoch: back.epoch, count: model.count };
  }

  /** What was written here after the last common epoch is at the provider, under its name. */
  async #checkKept({ standing }: AgentAuthority): Promise<void> {
    const { branch, isBranchKept, isClean, by } = standing;
    const { env } = this.world;
    const objects = await directoryStore(env.files, '/repo', env.random);
    await using repository = await Repository.open(env, objects);
    const { promotion } = await readAuthority(env, REPLICA_FOLDER);
    const name = `${by}`;
    if (this.#branches.has(name)) return; // Since then an earlier try may have written here.
    if (isClean === true && promotion?.snapshot === null) return; // Its promotion was cut off.
    this.#branches.add(name);
    const base = repository.snapshots('vol').find(({ id }) => id === promotion?.snapshot);
    const kept = isBranchKept === true ? repository.latest(branch!) : undefined;
    const snapshot = isClean === true ? base : kept;
    assert.ok(snapshot !== undefined, `what the agent has is kept nowhere (seed ${this.#seed})`);
    const content = await contentOf(await repository.device(snapshot));
    assert.ok(equalBytes(content, this.#model.content), 'what is kept is not what the agent has');
    if (kept !== undefined) this.counts.branches += 1;
  }

  /** One side writes under each authority; with leases, never one under a lower one than before. */
  #judgeLog(): void {
    const sides = new Map<number, Side>();
    let highest = 0;
    for (const { side, authority } of this.#log) {
      const before = sides.get(authority) ?? side;
      assert.equal(before, side, `both sides have written under authority ${authority}`);
      sides.set(authority, side);
      if (this.#options.leaseMs !== undefined || this.counts.forced === 0) {
        assert.ok(authority >= highest, `a write under ${authority} after one under ${highest}`);
      }
      highest = Math.max(highest, authority);
    }
  }
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof FerryError)) throw error;
}
