/** Real processes on a real directory: killed with SIGKILL at random moments, or stopped. */
import assert from 'node:assert/strict';
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Draws } from '../../../sim/index.ts';
import { nodeEnv } from '../../../src/core/index.ts';
import { openFile } from '../../../src/device/index.ts';
import { directoryStore } from '../../../src/objects/index.ts';
import { init, type Kind } from '../../../src/transfer/backup/model-repository.fixture.ts';
import { type Running, start } from '../../interop/processes.ts';
import { bundled } from '../bundle.ts';
import { judge, look } from './judge.suite.ts';
import type { Task } from './kill.fixture.ts';
import { Model, type Shape } from './model.suite.ts';
import {
  carryOut,
  mayForget,
  noteDone,
  type OperationName,
  type Place,
  planOne,
  planStep,
  type Step,
} from './operations.suite.ts';

const MiB = 2 ** 20;
const shape: Shape = { chunkBytes: 65536, contentBytesMax: 4 * MiB, sizeBytes: 32 * MiB };
const PACK_BYTES = MiB / 2;
/** A repository is used for so many rounds, then the next one begins. */
const ROUNDS_PER_REPOSITORY = 24;
/** So many rounds meet what the one before has left; then what is there is looked at. */
const LOOK_EVERY = 3;
/** So many rounds end with a verdict on everything. */
const JUDGE_EVERY = 6;
/** So often a process is stopped, and goes on after others collected garbage twice. */
const STOP_CHANCE = 1 / 8;
/** So many backups come as copies, by way of another repository. */
const COPY_CHANCE = 1 / 3;
/** What the span of moments becomes with a kill, and with one that came too late: a fifth does. */
const SPAN_KILLED = 1.05;
const SPAN_TOO_LATE = 0.8;

/** What is killed. */
export const program = 'test/torture/store/kill.fixture.ts';

/** Threads cost more than they save here; the processes that are killed use them. */
const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

/** What one round came to. */
export type KillRound = 'killed' | 'stopped' | 'too late';

/** Repositories under `folder`, one after the other; a round is one process. */
export class KillRounds {
  readonly #folder: string;
  readonly #seed: number;
  readonly #program = bundled(program);
  #round = 0;
  #model = new Model();
  #repositoryPath = '';
  /** About how long each operation takes, from its begin: what the moments are spread over. */
  readonly #spanMs = new Map<OperationName, number>();

  constructor(folder: string, seed: number) {
    this.#folder = folder;
    this.#seed = seed;
  }

  /** Throws, with the seed, if something is not right. */
  async next(): Promise<KillRound> {
    const round = this.#round++;
    const draws = new Draws(this.#seed, 20, round);
    try {
      if (round % ROUNDS_PER_REPOSITORY === 0) await this.#begin(draws);
      return await this.#one(round, draws);
    } catch (cause) {
      throw new Error(`kill -9, seed ${this.#seed}, round ${round}`, { cause });
    }
  }

  async #begin(draws: Draws): Promise<void> {
    if (this.#repositoryPath !== '') await rm(this.#repositoryPath, { recursive: true });
    await mkdir(this.#folder, { recursive: true });
    this.#repositoryPath = join(this.#folder, `repository-${this.#round}`);
    this.#model = new Model();
    const kind: Kind = draws.chance(0.25) ? 'encrypted' : 'plain';
    const place = this.#place();
    await using objects = await place.objects();
    await init(env, objects, kind, { chunkBytes: shape.chunkBytes });
    const step = planOne('backup', this.#model, shape, draws);
    await carryOut(place, this.#model, step);
  }

  #place(): Place {
    return {
      env,
      objects: () => directoryStore(env.files, this.#repositoryPath, env.random),
      source: async (step) => {
        await this.#writeImage(step);
        return openFile(env.files, this.#imagePath, { readOnly: true });
      },
      packTargetBytes: PACK_BYTES,
      gcWaitMs: 0,
      fingerprintBits: 32,
    };
  }

  get #imagePath(): string {
    return join(this.#folder, 'image');
  }

  /** The content; the rest of the file is a hole. */
  async #writeImage({ version }: Step): Promise<void> {
    if (version === undefined) return;
    await writeFile(this.#imagePath, version.bytes);
    await truncate(this.#imagePath, version.sizeBytes);
  }

  async #one(round: number, draws: Draws): Promise<KillRound> {
    const model = this.#model;
    // What only reads leaves nothing to be judged.
    let step = planStep(model, shape, draws);
    while (step.name === 'restore' || step.name === 'check') step = planStep(model, shape, draws);
    if (step.name === 'backup' && draws.chance(COPY_CHANCE)) step = { ...step, name: 'copy' };
    await this.#writeImage(step);
    const stops = draws.chance(STOP_CHANCE);
    const { version: _bytes, ...told } = step;
    const task: Task = {
      step: told,
      repositoryPath: this.#repositoryPath,
      imagePath: this.#imagePath,
      packTargetBytes: PACK_BYTES,
    };
    await using running = start(process.execPath, [this.#program, JSON.stringify(task)]);
    await running.line('begun');
    const began = env.clock.monotonicMs();
    const known = this.#spanMs.get(step.name);
    if (known !== undefined) {
      await Promise.race([running.finished(), delay(draws.unit() * known)]);
      if (stops) await this.#standStill(running, draws);
      else running.kill('SIGKILL');
    }
    const killed = await this.#outcome(running, step);
    if (known === undefined) this.#spanMs.set(step.name, env.clock.monotonicMs() - began);
    else if (!stops) this.#spanMs.set(step.name, known * (killed ? SPAN_KILLED : SPAN_TOO_LATE));
    await this.#verdict(round, draws);
    if (stops && known !== undefined) return 'stopped';
    return killed ? 'killed' : 'too late';
  }

  /** Others go on beside it, as after a virtual machine was paused. */
  async #standStill(running: Running, draws: Draws): Promise<void> {
    running.kill('SIGSTOP');
    const place = this.#place();
    for (let at = 0; at < 2; at++) {
      if (mayForget(this.#model)) {
        await carryOut(place, this.#model, planOne('forget', this.#model, shape, draws));
      }
      await carryOut(place, this.#model, planOne('gc', this.#model, shape, draws));
    }
    running.kill('SIGCONT');
  }

  /** Notes what the process told; true if it was killed before it could. */
  async #outcome(running: Running, step: Step): Promise<boolean> {
    const { stdout, stderr, signal } = await running.finished();
    assert.equal(stderr, '');
    const done = /^done (.*)$/m.exec(stdout)?.[1];
    const failed = /^failed (\S+).*$/m.exec(stdout);
    if (done !== undefined) noteDone(this.#model, step, done);
    if (failed !== null) assert.match(failed[1]!, /^STORE_(FENCED|BUSY)$/, failed[0]);
    return signal === 'SIGKILL' && done === undefined && failed === null;
  }

  /** The next runs work without manual steps, and find everything. */
  async #verdict(round: number, draws: Draws): Promise<void> {
    const place = this.#place();
    const rounds = round + 1;
    if (rounds % JUDGE_EVERY === 0) await judge(place, this.#model, shape, draws);
    else if (rounds % LOOK_EVERY === 0) await look(place, this.#model);
  }
}
