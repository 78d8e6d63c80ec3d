/** Goal: damage to what a tracker keeps is told as a loss, never as "nothing changed". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../../sim/index.ts';
import { begun, blocksOf, holding, inWorld, mark, open } from './tracker.suite.ts';

test('damage in any byte of a log that was left whole is told as a loss', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await world.env.files.makeDirectory('/t');
    await world.env.files.syncDirectory('/');
    await (await begun(world.env))[Symbol.asyncDispose]();
  });
  const sizeBytes = world.disk.stat('/t/log', true).sizeBytes;
  for (let at = 0; at < sizeBytes; at += 3) {
    const disk = world.disk.crash(at);
    disk.flipBit('/t/log', at * 8 + (at % 8));
    const after = simulatedEnv(at, { disk });
    await after.run(async () => {
      await using tracker = await open(after.env);
      assert.equal(tracker.cursor('repository'), undefined, `a flip in byte ${at} is not seen`);
      assert.equal(tracker.began.reason, 'lost');
    });
  }
});

test('damage in the middle of what was appended is a loss, a torn end is none', async () => {
  const world = simulatedEnv(1);
  let wholeBytes = 0;
  await world.run(async () => {
    await world.env.files.makeDirectory('/t');
    await world.env.files.syncDirectory('/');
    const tracker = await open(world.env);
    wholeBytes = (await world.env.files.stat('/t/log')).sizeBytes;
    await using cut = tracker.cut();
    await tracker.acknowledge('repository', cut, holding);
    await mark(tracker, 3, 5000);
  });
  const sizeBytes = world.disk.stat('/t/log', true).sizeBytes;
  let losses = 0;
  for (let at = wholeBytes; at < sizeBytes; at += 3) {
    const disk = world.disk.crash(at);
    disk.flipBit('/t/log', at * 8 + (at % 8));
    const after = simulatedEnv(at, { disk });
    await after.run(async () => {
      await using tracker = await open(after.env);
      const cursor = tracker.cursor('repository');
      if (cursor === undefined) losses++;
      else assert.ok((await blocksOf(tracker, cursor.epoch)).includes(3), `a flip at ${at}`);
    });
  }
  assert.ok(losses > 50);
});

test('a set that is damaged is told, and is no answer', () =>
  inWorld(async ({ env, disk }) => {
    await using tracker = await begun(env);
    await using cut = tracker.cut();
    await cut.sealed;
    const [name] = (await env.files.list('/t')).filter((file) => file.startsWith('set-'));
    const { sizeBytes } = await env.files.stat(`/t/${name}`);
    disk.flipBit(`/t/${name}`, (sizeBytes - 20) * 8);
    const { epoch } = tracker.cursor('repository')!;
    await assert.rejects(tracker.changes(epoch, cut.epoch), { code: 'TRACK_STATE' });
  }));
