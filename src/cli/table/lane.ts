/** `--lane`, of both ends of a session. */
import { choice } from '../spec.ts';

export const lane = choice(
  ['auto', 'control', 'tls', 'udp'],
  'which lanes carry data; auto tries those that come about, and takes the fastest',
  'auto',
);
