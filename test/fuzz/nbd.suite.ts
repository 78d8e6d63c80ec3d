/** The NBD target of the fuzzer: bad clients and bad servers in turn. */
import { nbdClientTrials } from './nbd-client.suite.ts';
import { nbdServerTrials } from './nbd-server.suite.ts';
import type { FuzzTarget } from './target.ts';

export const target: FuzzTarget = {
  summary: 'mutated sessions against the NBD server, mutated replies against the client',
  async prepare() {
    const trials = [await nbdServerTrials(), await nbdClientTrials()];
    return (seed) => trials[seed % 2]!(seed);
  },
};
