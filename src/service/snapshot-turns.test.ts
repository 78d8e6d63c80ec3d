/** Goal: turns are taken one by one, and whose turn takes long or hangs holds nobody up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../sim/index.ts';
import { SnapshotTurns, TURN_WAIT_MS } from './snapshot-turns.ts';

const { signal } = new AbortController();

test('the next one begins when the one before has ended', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const turns = new SnapshotTurns(world.env.clock);
    const first = Promise.withResolvers<void>();
    const order: string[] = [];
    const one = turns.run(async () => first.promise.then(() => order.push('one')), signal);
    const two = turns.run(async () => order.push('two'), signal);
    world.env.clock.after(TURN_WAIT_MS / 2, () => first.resolve());
    await Promise.all([one, two]);
    assert.deepEqual(order, ['one', 'two']);
  });
});

test('who has waited long enough goes on beside it, and leaves the turn where it is', async () => {
  const world = simulatedEnv(2);
  await world.run(async () => {
    const turns = new SnapshotTurns(world.env.clock);
    const hung = Promise.withResolvers<void>();
    const one = turns.run(() => hung.promise, signal);
    const fromMs = world.nowMs;
    await turns.run(async () => {}, signal);
    assert.equal(world.nowMs - fromMs, TURN_WAIT_MS);
    const order: string[] = [];
    const three = turns.run(async () => order.push('three'), signal);
    order.push('one');
    hung.resolve();
    await Promise.all([one, three]);
    assert.deepEqual(order, ['one', 'three']);
    assert.equal(world.nowMs - fromMs, TURN_WAIT_MS);
  });
});

test('an abort ends the waiting, and a failure the turn', async () => {
  const world = simulatedEnv(3);
  await world.run(async () => {
    const turns = new SnapshotTurns(world.env.clock);
    const hung = Promise.withResolvers<void>();
    const one = turns.run(() => hung.promise, signal);
    const stop = new AbortController();
    const two = turns.run(() => assert.fail('it was stopped'), stop.signal);
    stop.abort(new Error('stopped'));
    await assert.rejects(two, /stopped/);
    hung.reject(new Error('no space'));
    await assert.rejects(one, /no space/);
    const fromMs = world.nowMs;
    await turns.run(async () => {}, signal);
    assert.equal(world.nowMs, fromMs);
  });
});
