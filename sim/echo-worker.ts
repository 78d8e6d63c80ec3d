/** The worker module of the tests: answers with what it gets, marks shared memory, may fail. */
import type { ServeWorker } from '../src/core/index.ts';

export const serve: ServeWorker = (post) => (message) => {
  if (message === 'fail') throw new Error('asked to fail');
  if (message instanceof Int32Array) message[0] = 1;
  else post(message);
};
