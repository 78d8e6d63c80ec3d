/** Goal: the memory store keeps the contract. */
import { memoryStore } from './memory.ts';
import { objectStoreSuite } from './object-store.suite.ts';

objectStoreSuite({
  name: 'memory store',
  withStore: async (use) => {
    await using store = memoryStore('test');
    await use(store);
  },
  historyCount: 200,
});
