/** Goal: an agent does not follow a provider that has forgotten who writes, and keeps its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { type Env, equalBytes, type FerryError } from '../core/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { openMembers, renewOlder } from './replicate/agent/members.ts';
import { AgentAuthority, bringBack, keepReplica, Mandate } from './replicate/index.ts';
import { contentOf, makePlace } from './replicate.suite.ts';
import { deviceOf, digestOf, TrackedModel } from './replicate-model.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const by = { isForced: true, isAgentDead: true };

/** An agent with its authority, and a provider whose disk can go back. */
class Place {
  readonly env: Env;
  readonly model: TrackedModel;
  readonly #world: World;
  #kill = () => {};

  constructor(world: World) {
    this.#world = world;
    this.env = world.env;
    this.model = new TrackedModel(world.env);
  }

  async begin() {
    await makePlace(this.env);
    return await this.serve();
  }

  async serve() {
    const { env, kill } = this.#world.startProcess('provider');
    this.#kill = kill;
    return await serve(env, 0);
  }

  get copy() {
    return this.#world.disk.crash(1);
  }

  async goBack(copy: Place['copy']) {
    this.#kill();
    this.#world.disk.goBack(['repo', 'replica'], copy);
    return await this.serve();
  }

  authority(): Promise<AgentAuthority> {
    const makeDirectory = () => this.env.files.makeDirectory('/agent');
    return AgentAuthority.open(this.env, { directory: '/agent', makeDirectory }, 'vol');
  }

  /** An epoch with these bytes, as a snapshot. */
  async send(byte: number): Promise<void> {
    this.model.write(0, new Uint8Array(5000).fill(byte));
    const mandate = new Mandate({ clock: this.env.clock, authority: await this.authority() });
    const connectAgent = () => connect(this.env);
    await keepReplica(this.env, {
      name: 'vol',
      source: this.model,
      mandate,
      connect: connectAgent,
    });
  }

  /** Opens the volume as what the agent is; answers what that says. */
  async come(): Promise<AgentAuthority> {
    const authority = await this.authority();
    await using agent = await connect(this.env);
    const mandate = new Mandate({ clock: this.env.clock, authority });
    const volume = await agent.open('vol', this.model.sizeBytes, mandate.claim);
    await mandate.opened(volume, this.model);
    return authority;
  }

  /** What is told where the session ends before the answer to what it asks for then. */
  async renewCutOff(): Promise<readonly unknown[]> {
    await using agent = await connect(this.env);
    const members = await openMembers(agent, [{ name: 'vol', source: this.model }], undefined);
    agent.session.end();
    const told: unknown[] = [];
    await assert.rejects(renewOlder(members, (error) => told.push(error)));
    return told.map((error) => (error as FerryError).code);
  }

  async bringBack(): Promise<void> {
    const { env, model } = this;
    await assert.rejects(this.come(), { code: 'REPLICATE_FENCED' });
    const authority = await this.authority();
    await using agent = await connect(env);
    const volume = await agent.open('vol', model.sizeBytes, { authority: 1 });
    const digest = () => digestOf(env, model.content);
    await bringBack(volume, { device: deviceOf(model), authority, own: 'all', digestOf: digest });
  }
}

test('a provider that forgot that it gave the volume back fences nobody, and says so', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const place = new Place(world);
    const provider = await place.begin();
    await place.send(1);
    await provider.promote('vol', by);
    const { copy } = place;
    await place.bringBack();
    await place.send(2);
    await place.goBack(copy);
    await assert.rejects(place.come(), { code: 'REPLICATE_WENT_BACK' });
    const { standing } = await place.authority();
    assert.deepEqual([standing.role, standing.authority], ['writes', 3]);
  });
});

test('a provider that forgot its promotion gives back nothing before the branch is kept anew', async () => {
  const world = simulatedEnv(2);
  await world.run(async () => {
    const place = new Place(world);
    const provider = await place.begin();
    await place.send(1);
    const { copy } = place;
    await place.send(2);
    await provider.promote('vol', by);
    place.model.write(9000, new Uint8Array(100).fill(3));
    await assert.rejects(place.come(), { code: 'REPLICATE_FENCED' });
    assert.equal((await place.authority()).mayBeOverwritten, true);
    const older = await place.goBack(copy);
    await assert.rejects(place.come(), { code: 'REPLICATE_WENT_BACK' });
    assert.equal((await place.authority()).mayBeOverwritten, false);
    await older.promote('vol', by);
    await assert.rejects(place.come(), { code: 'REPLICATE_FENCED' });
    const { standing } = await place.authority();
    assert.equal(standing.isBranchKept, true);
    const objects = await directoryStore(place.env.files, '/repo', place.env.random);
    await using repository = await Repository.open(place.env, objects);
    const branch = repository.latest(standing.branch!)!;
    const kept = await contentOf(await repository.device(branch));
    assert.ok(equalBytes(kept, place.model.content), 'the branch is not what the agent has');
  });
});

test('an older disk is told of though the session ends before the replica has its new name', async () => {
  const world = simulatedEnv(3);
  await world.run(async () => {
    const place = new Place(world);
    await place.begin();
    await place.send(1);
    const { copy } = place;
    await place.send(2);
    await place.goBack(copy);
    assert.deepEqual(await place.renewCutOff(), ['REPLICATE_WENT_BACK']);
  });
});
