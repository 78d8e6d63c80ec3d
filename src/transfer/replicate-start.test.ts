/** Goal: a volume is served before its provider is heard, unless only that knows who writes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { type Env, EnvError, equalBytes, FerryError } from '../core/index.ts';
import { WriteGate } from '../device/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import {
  type Agent,
  AgentAuthority,
  bringBack,
  Lease,
  Mandate,
  ReplicateError,
  Replication,
} from './replicate/index.ts';
import { contentOf, makePlace, SIZE } from './replicate.suite.ts';
import { deviceOf, digestOf, pause, TrackedModel } from './replicate-model.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const INTERVAL_MS = 20;
const forced = { isForced: true, isAgentDead: true };
const page = new Uint8Array(4096).fill(7);

/** A volume, its agent and its provider, which run only when they are told to. */
class Place {
  readonly world: World;
  readonly env: Env;
  readonly model: TrackedModel;

  constructor(world: World) {
    this.world = world;
    this.env = world.env;
    this.model = new TrackedModel(world.env);
  }

  async serve() {
    const { env, kill } = this.world.startProcess('provider');
    return { kill, provider: await serve(env, 0) };
  }

  authority(): Promise<AgentAuthority> {
    const makeDirectory = () => this.env.files.makeDirectory('/agent');
    return AgentAuthority.open(this.env, { directory: '/agent', makeDirectory }, 'vol');
  }

  async start({ leaseMs, to = () => connect(this.env), onLink, ...given }: Starting = {}) {
    const { env, model } = this;
    const { clock } = env;
    const authority = given.authority ?? (await this.authority());
    const lease = leaseMs === undefined ? undefined : new Lease(clock, leaseMs);
    const gate = new WriteGate(deviceOf(model), lease?.permit);
    const mandate = new Mandate({
      ...{ clock, authority, gate, digestOf: () => digestOf(env, model.content) },
      ...(lease !== undefined && { lease }),
    });
    const replication = new Replication(env, {
      ...{ name: 'vol', source: model, intervalMs: INTERVAL_MS, mandate, connect: to },
      ...(onLink !== undefined && { onLink }),
    });
    return { replication, gate, authority };
  }

  /** All that was written is at the provider. */
  async reached(): Promise<void> {
    while (!this.model.isClean) await pause(this.env, INTERVAL_MS);
  }
}

type Starting = {
  readonly leaseMs?: number;
  readonly to?: () => Promise<Agent>;
  readonly authority?: AgentAuthority;
  readonly onLink?: (isConnected: boolean) => void;
};

async function inWorld(run: (place: Place) => Promise<void>): Promise<void> {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    await run(new Place(world));
  });
}

const unreachable = () =>
  Promise.reject(new EnvError('ENV_REFUSED', 'nobody is there', { hint: 'Start it.' }));

const refused = () =>
  Promise.reject(
    new ReplicateError('REPLICATE_REFUSED', 'the provider refuses: it is full', {
      ...{ hint: 'Make room there.', remoteCode: 'REPLICATE_QUOTA' },
    }),
  );

test('a volume is served while its provider is down, and is there once that answers', () =>
  inWorld(async (place) => {
    const { replication, gate } = await place.start();
    await replication.begun;
    await gate.write(page, 8192, 0);
    const { isConnected, lagMs, trouble } = replication.state;
    assert.deepEqual([isConnected, lagMs], [false, undefined]);
    assert.ok(trouble instanceof FerryError && trouble.code === 'ENV_REFUSED');
    assert.equal(place.model.isClean, false);
    const { provider } = await place.serve();
    await place.reached();
    const { isConnected: isThere, lagMs: lag, trouble: none } = replication.state;
    assert.deepEqual([isThere, lag, none], [true, 0, undefined]);
    const replica = await provider.known('vol');
    assert.ok(equalBytes(await replica!.read(0, SIZE), place.model.content));
    assert.ok(await replication.finish(1_000));
    await replication.ended;
  }));

test('at the end a provider that comes back has as long as one that was there', () =>
  inWorld(async (place) => {
    const { replication, gate } = await place.start();
    await replication.begun;
    await gate.write(page, 8192, 0);
    const { model, env } = place;
    const cut = model.cut.bind(model);
    model.cut = async (held) => {
      await pause(env, 5_000);
      return await cut(held);
    };
    const ending = replication.finish(30_000, 3_000);
    const { provider } = await place.serve();
    assert.ok(await ending);
    const replica = await provider.known('vol');
    assert.ok(equalBytes(await replica!.read(0, SIZE), model.content));
  }));

test('at the end a provider that is not there is looked for only so long', () =>
  inWorld(async (place) => {
    const { replication, gate } = await place.start();
    await replication.begun;
    await gate.write(page, 8192, 0);
    const beginMs = place.world.nowMs;
    assert.equal(await replication.finish(30_000, 3_000), false);
    const lookedMs = place.world.nowMs - beginMs;
    assert.ok(lookedMs >= 3_000 && lookedMs <= 4_000, `${lookedMs} ms`);
    assert.equal(place.model.isClean, false);
  }));

test('one that answers nothing is waited for only so long', () =>
  inWorld(async (place) => {
    const never = () => new Promise<Agent>(() => undefined);
    const { replication } = await place.start({ to: never });
    const beginMs = place.world.nowMs;
    await replication.begun;
    const waitedMs = place.world.nowMs - beginMs;
    assert.ok(waitedMs >= 4_000 && waitedMs <= 6_000, `${waitedMs} ms`);
    assert.equal(replication.state.isConnected, false);
  }));

test('with a lease nothing is acknowledged before the provider is heard', () =>
  inWorld(async (place) => {
    const { replication, gate } = await place.start({ leaseMs: 2_000 });
    await replication.begun;
    let isWritten = false;
    const write = Promise.resolve(gate.write(page, 0, 0)).then(() => {
      isWritten = true;
    });
    await pause(place.env, 10_000);
    assert.equal(isWritten, false);
    assert.ok(!place.model.content.some((byte) => byte !== 0));
    const { provider } = await place.serve();
    await write;
    await place.reached();
    await provider.promote('vol', { isForced: true, isAgentDead: false });
    await assert.rejects(async () => gate.write(page, 0, 0), { code: 'DEVICE_READ_ONLY' });
  }));

test('who refuses at the very first time ends it, and later does not', () =>
  inWorld(async (place) => {
    const first = await place.start({ to: refused });
    await assert.rejects(first.replication.begun, { remoteCode: 'REPLICATE_QUOTA' });
    const { kill } = await place.serve();
    const second = await place.start();
    await second.gate.write(page, 0, 0);
    await place.reached();
    await second.replication.finish(1_000);
    kill();
    const third = await place.start({ to: refused });
    await third.replication.begun;
    await third.gate.write(page, 4096, 0);
    await pause(place.env, 3_600_000);
    assert.match(String(third.replication.state.trouble), /it is full/);
    assert.equal(third.gate.refusal, undefined);
  }));

test('what was offered is served only after its provider has said that it did not take it', () =>
  inWorld(async (place) => {
    const { kill, provider } = await place.serve();
    const first = await place.start();
    await first.gate.write(page, 0, 0);
    await place.reached();
    await first.replication.finish(1_000);
    const { id } = (await provider.known('vol'))!;
    kill();
    await (await place.authority()).stop(id);
    const second = await place.start();
    await assert.rejects(second.replication.begun, (error: FerryError) => {
      assert.equal(error.code, 'REPLICATE_FENCED');
      assert.match(error.message, /was offered to its provider.*not heard: .*ENV_REFUSED/);
      return true;
    });
    await place.serve();
    const third = await place.start();
    await third.replication.begun;
    assert.equal(third.authority.standing.role, 'writes');
    await third.gate.write(page, 4096, 0);
  }));

test('what was offered and is forgotten where it was is not waited for', () =>
  inWorld(async (place) => {
    await (await place.authority()).stop('an older replica');
    await place.serve();
    const { replication, authority } = await place.start();
    await replication.begun;
    assert.throws(() => authority.check(), { code: 'REPLICATE_FENCED' });
    await replication.finish(1_000);
  }));

test('what was offered to one of two providers is served though the other one is down', () =>
  inWorld(async (place) => {
    const { kill, provider } = await place.serve();
    const first = await place.start();
    await first.gate.write(page, 0, 0);
    await place.reached();
    await first.replication.finish(1_000);
    const { id } = (await provider.known('vol'))!;
    kill();
    const authority = await place.authority();
    await authority.stop(id);
    const late = async () => {
      await pause(place.env, 2_000);
      return await connect(place.env);
    };
    const all = [
      await place.start({ authority, to: late }),
      await place.start({ authority, to: unreachable }),
    ];
    await place.serve();
    await Promise.all(all.map(({ replication }) => replication.begun));
    authority.check();
  }));

test('a stop does not wait for a connection that does not come about', () =>
  inWorld(async (place) => {
    const connecting = Promise.withResolvers<Agent>();
    const { replication } = await place.start({ to: () => connecting.promise });
    await replication.begun;
    assert.equal(await replication.finish(1_000), false);
    await place.serve();
    const agent = await connect(place.env);
    connecting.resolve(agent);
    await assert.rejects(agent.open('vol', SIZE), { code: 'REPLICATE_CLOSED' });
  }));

test('one that ends by a defect says that it is not connected any more', () =>
  inWorld(async (place) => {
    await place.serve();
    const defect = new TypeError('a defect');
    const links: boolean[] = [];
    const { replication } = await place.start({ onLink: (isThere) => links.push(isThere) });
    await replication.begun;
    await place.reached();
    place.model.cut = () => Promise.reject(defect);
    place.model.write(0, page);
    await assert.rejects(replication.ended, defect);
    const { isConnected, trouble } = replication.state;
    assert.deepEqual([isConnected, trouble, links], [false, defect, [true, false]]);
  }));

test('who was promoted without being heard keeps what was written here as a branch', () =>
  inWorld(async (place) => {
    const { kill, provider } = await place.serve();
    const first = await place.start();
    await first.gate.write(page, 0, 0);
    await place.reached();
    await first.replication.finish(1_000);
    await provider.promote('vol', forced);
    kill();
    const alone = await place.start();
    await alone.replication.begun;
    await alone.gate.write(page, 16_384, 0);
    await place.serve();
    await assert.rejects(alone.replication.ended, { code: 'REPLICATE_FENCED' });
    await assert.rejects(async () => alone.gate.write(page, 0, 0), { code: 'DEVICE_READ_ONLY' });
    const { branch, isBranchKept, by } = (await place.authority()).standing;
    assert.deepEqual([isBranchKept, by], [true, 2]);
    const objects = await directoryStore(place.env.files, '/repo', place.env.random);
    await using repository = await Repository.open(place.env, objects);
    const kept = await contentOf(await repository.device(repository.latest(branch!)!));
    assert.ok(equalBytes(kept, place.model.content));
  }));

test('a disk that has another size since then is fenced too, and not written over', () =>
  inWorld(async (place) => {
    const { provider } = await place.serve();
    const first = await place.start();
    await first.gate.write(page, 0, 0);
    await place.reached();
    await first.replication.finish(1_000);
    await provider.promote('vol', forced);
    await using agent = await connect(place.env);
    const volume = await agent.open('vol', SIZE + 4096);
    assert.deepEqual([volume.known.promotedEpoch, volume.known.sizeBytes], [volume.epoch, SIZE]);
    const authority = await place.authority();
    const how = { by: 2, epoch: volume.epoch, replica: volume.replica, isClean: true };
    await authority.fence(how);
    const device = new Proxy(deviceOf(place.model), {
      get: (target, key) => (key === 'sizeBytes' ? SIZE + 4096 : Reflect.get(target, key)),
    });
    const back = bringBack(volume, {
      ...{ device, authority, own: [], digestOf: () => digestOf(place.env, place.model.content) },
    });
    await assert.rejects(back, { code: 'REPLICATE_SIZE' });
  }));
