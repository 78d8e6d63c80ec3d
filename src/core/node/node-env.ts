/** The real world as an Env: this host's clock, randomness, disk, network and threads. */
import { randomFillSync } from 'node:crypto';
import type { Env } from '../env.ts';
import { nodeClock } from './clock.ts';
import { nodeFiles } from './files.ts';
import { nodeNet } from './net.ts';
import { nodeWorkers } from './workers.ts';

export function nodeEnv(): Env {
  return {
    clock: nodeClock(),
    random: { fill: (target) => void randomFillSync(target) },
    files: nodeFiles(),
    net: nodeNet(),
    workers: nodeWorkers(),
  };
}
