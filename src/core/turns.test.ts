/** Goal: work in turns lets the rest of its thread go on, and each that waits has its turn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World } from '../../sim/index.ts';
import { nodeClock } from './node/clock.ts';
import { Turns } from './turns.ts';

test('a slice goes on until its time is over, and a new one begins with the turn', async () => {
  const world = new World(1, {});
  const { clock } = world.env;
  await world.run(async () => {
    const turns = new Turns(clock, 5);
    await turns.next();
    assert.equal(turns.next(), undefined);
    await new Promise<void>((resolve) => clock.after(6, resolve));
    const wait = turns.next();
    assert.ok(wait !== undefined);
    await wait;
    assert.equal(turns.next(), undefined);
  });
});

test('of several that wait each turn of the loop lets one go on, in their order', async () => {
  const turns = new Turns(nodeClock(), 0);
  const order: string[] = [];
  const work = async (name: string) => {
    for (let step = 0; step < 3; step++) {
      await turns.next();
      order.push(name);
    }
  };
  let loops = 0;
  const count = () => {
    loops += 1;
    if (order.length < 6) setImmediate(count);
  };
  setImmediate(count);
  await Promise.all([work('a'), work('b')]);
  assert.equal(order.join(''), 'ababab');
  assert.ok(loops >= 6, `${loops} turns of the loop`);
});
