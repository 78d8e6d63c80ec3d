/** The decoders of the NBD server and client against their models: no world, only bytes. */
import { replyDecoderSession } from '../../src/nbd/reply-decoder.suite.ts';
import { requestDecoderSession } from '../../src/nbd/request-decoder.suite.ts';
import type { FuzzTarget } from './target.ts';

export const target: FuzzTarget = {
  summary: 'both NBD decoders against models; prints how many steps they took',
  async prepare() {
    const steps = { requests: 0, replies: 0 };
    process.once('exit', () => {
      process.stdout.write(`steps: ${steps.requests} of requests, ${steps.replies} of replies\n`);
    });
    return async (seed) => {
      steps.requests += requestDecoderSession(seed);
      steps.replies += replyDecoderSession(seed);
    };
  },
};
