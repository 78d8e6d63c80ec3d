/** Goal: the fault store fails the calls it was told to, and otherwise is the store below. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failNth, faultStore, type StoreCall } from './fault.ts';
import { memoryStore } from './memory.ts';
import { objectStoreSuite } from './object-store.suite.ts';

objectStoreSuite({
  name: 'fault store without faults',
  withStore: async (use) => {
    await using store = faultStore(memoryStore('test'), () => undefined);
    await use(store);
  },
  historyCount: 50,
});

test('only the Nth call fails, and has no effect', async () => {
  await using inner = memoryStore('test');
  const store = faultStore(inner, failNth(2, { code: 'OBJECT_NO_SPACE' }));
  await store.putIfAbsent('a', Uint8Array.of(1));
  await assert.rejects(store.putIfAbsent('b', Uint8Array.of(2)), { code: 'OBJECT_NO_SPACE' });
  await store.putIfAbsent('c', Uint8Array.of(3));
  assert.deepEqual(await Array.fromAsync(inner.list(''), ({ key }) => key), ['a', 'c']);
});

test('a call whose answer is lost has taken effect', async () => {
  await using inner = memoryStore('test');
  const store = faultStore(inner, failNth(1, { code: 'OBJECT_IO', applied: true }));
  await assert.rejects(store.putIfAbsent('a', Uint8Array.of(1)), { code: 'OBJECT_IO' });
  await assert.rejects(store.putIfAbsent('a', Uint8Array.of(1)), { code: 'OBJECT_EXISTS' });
});

test('every call is counted and named, those of writers and listings too', async () => {
  await using inner = memoryStore('test');
  const calls: StoreCall[] = [];
  const store = faultStore(inner, (call) => void calls.push(call));
  await using writer = await store.create('a');
  await writer.append(Uint8Array.of(1));
  await writer.commit();
  await Array.fromAsync(store.list(''));
  await store.get('a', 1);
  await store.getRange('a', new Uint8Array(1), 0);
  await store.size('a');
  await store.putIfAbsent('b', new Uint8Array(1));
  await store.remove('a');
  assert.deepEqual(
    calls.map(({ operation }) => operation),
    ['create', 'append', 'commit', 'list', 'get', 'get-range', 'size', 'put', 'remove'],
  );
  assert.deepEqual(
    calls.map(({ number }) => number),
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});
