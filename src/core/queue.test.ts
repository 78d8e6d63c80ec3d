/** Goal: limits hold, order is kept, and nothing is left running after a failure. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Gate, mapOrdered } from './queue.ts';

test('a gate lets in at most its limit, and the others in their order', async () => {
  const gate = new Gate({ limit: 2 });
  const order: number[] = [];
  assert.equal(gate.enter(), undefined);
  assert.equal(gate.enter(), undefined);
  const waiting = [1, 2, 3].map(async (value) => {
    await gate.enter();
    order.push(value);
  });
  await Promise.resolve();
  assert.deepEqual(order, []);
  gate.leave();
  await waiting[0];
  assert.deepEqual(order, [1]);
  assert.equal(gate.inside, 2);
  gate.leave();
  gate.leave();
  await Promise.all(waiting);
  assert.deepEqual(order, [1, 2, 3]);
  gate.leave();
  gate.leave();
  assert.equal(gate.inside, 0);
  assert.throws(() => gate.leave(), /nobody is inside/);
});

test('an aborted waiter leaves the queue and takes no place', async () => {
  const gate = new Gate({ limit: 1 });
  await gate.enter();
  const aborter = new AbortController();
  const given = gate.enter(aborter.signal);
  const patient = gate.enter();
  aborter.abort(new Error('enough'));
  await assert.rejects(given!, /enough/);
  gate.leave();
  await patient;
  assert.equal(gate.inside, 1);
  assert.throws(() => gate.enter(aborter.signal), /enough/);
});

test('one waiter more than the limit is refused, and a failing run leaves the gate', async () => {
  const gate = new Gate({ limit: 1, waitersMax: 1 });
  await gate.enter();
  const waiting = gate.run(() => {
    throw new Error('on purpose');
  });
  assert.throws(() => gate.enter(), { code: 'QUEUE_FULL' });
  gate.leave();
  await assert.rejects(waiting, /on purpose/);
  assert.equal(gate.inside, 0);
});

test('mapOrdered keeps order and limit, whatever finishes first', () =>
  fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.nat(12),
      fc.integer({ min: 1, max: 4 }),
      async (scheduler, count, limit) => {
        let running = 0;
        let peak = 0;
        const items = Array.from({ length: count }, (_, index) => index);
        const collected: number[] = [];
        const collect = async (): Promise<void> => {
          const results = mapOrdered(items, limit, async (item) => {
            running++;
            peak = Math.max(peak, running);
            await scheduler.schedule(Promise.resolve(), `item ${item}`);
            running--;
            return item * 2;
          });
          for await (const result of results) collected.push(result);
        };
        await scheduler.waitFor(collect());
        assert.deepEqual(
          collected,
          items.map((item) => item * 2),
        );
        assert.equal(peak, Math.min(limit, count));
      },
    ),
  ));

test('after a failure mapOrdered starts nothing more and waits for what runs', async () => {
  const started: number[] = [];
  let settled = 0;
  let closed = false;
  function* source(): Generator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      closed = true;
    }
  }
  const results = mapOrdered(source(), 3, async (item) => {
    started.push(item);
    await new Promise((resolve) => setImmediate(resolve));
    settled++;
    if (item === 2) throw new Error('item two');
    return item;
  });
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const result of results) seen.push(result);
  }, /item two/);
  assert.deepEqual(seen, [0, 1]);
  assert.deepEqual(started, [0, 1, 2, 3, 4]);
  assert.equal(settled, 5);
  assert.ok(closed);
});

test('a consumer that stops early finds everything settled', async () => {
  let running = 0;
  for await (const _ of mapOrdered([1, 2, 3, 4], 3, async () => {
    running++;
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  })) {
    break;
  }
  assert.equal(running, 0);
});
