/** For kill.suite.ts: one operation as a process of its own, to be killed or stopped. */
import { writeSync } from 'node:fs';
import { FerryError, nodeEnv } from '../../../src/core/index.ts';
import { openFile } from '../../../src/device/index.ts';
import { directoryStore } from '../../../src/objects/index.ts';
import { runStep, type Step } from './operations.suite.ts';

export type Task = {
  readonly step: Step;
  readonly repositoryPath: string;
  readonly imagePath: string;
  readonly packTargetBytes: number;
};

/** At once: a pipe's buffer would still hold it when the signal comes. */
function tell(line: string): void {
  writeSync(1, `${line}\n`);
}

if (import.meta.main) {
  const task: Task = JSON.parse(process.argv[2]!);
  const { step, repositoryPath, imagePath, packTargetBytes } = task;
  /** One thread: fewer frames are under way, and packs are sealed throughout the run. */
  const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 1 } };
  const place = {
    env,
    objects: () => directoryStore(env.files, repositoryPath, env.random),
    source: () => openFile(env.files, imagePath, { readOnly: true }),
    packTargetBytes,
    gcWaitMs: 0,
    fingerprintBits: 32,
  };
  tell('begun');
  try {
    tell(`done ${await runStep(place, step)}`);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    tell(`failed ${error.code} ${error.message}`);
  }
}
