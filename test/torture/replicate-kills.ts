/**
 * `npm run torture -- replicate-kills [ROUNDS]`: an export that is written without a pause and kept
 * present at a provider; in each round the agent or the provider is killed with kill -9, or the
 * link is cut, at a random moment. Every few rounds the writer rests, and both sides are compared.
 */
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { nodeEnv } from '../../src/core/index.ts';
import type { Device } from '../../src/device/index.ts';
import { connect } from '../../src/nbd/index.ts';
import type { Running } from '../interop/processes.ts';
import { CountingProxy, ReplicationPlace } from '../interop/replication-place.ts';
import { receivedIn } from './received.fixture.ts';
import { Total } from './total.ts';

const MIB = 2 ** 20;
const SIZE_BYTES = 64 * MIB;
const BLOCK_BYTES = 4096;
const ROUNDS_PER_COMPARISON = 10;
const RUN_MS_MAX = 1_500;
const CUT_MS_MAX = 1_000;
const STOPS_MAX = 3;
const modules = ['test/torture/replicate-kills.ts', 'src/cli/main.ts', 'src/codec/codec-worker.ts'];
const noting = join(import.meta.dirname, 'received.fixture.ts');
const env = nodeEnv();

type Verdict = {
  readonly rounds: number;
  readonly different: number;
  readonly wireBytes: number;
  /** Of those that were committed: what came before a kill, and was referred to, is in none. */
  readonly epochBytes: number;
  readonly writtenBytes: number;
  /** Of data that the provider has taken; of it, what it had taken before. */
  readonly receivedBytes: number;
  readonly againBytes: number;
};

/** True if both sides were equal whenever they were compared, in all runs so far. */
export async function tortureReplicateKills(folder: string, rounds: number): Promise<boolean> {
  const total = new Total('replicate-kills', modules);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  const kind = 'kills and cuts';
  for (let turn = total.get(kind, 'rounds'); turn < rounds; turn += ROUNDS_PER_COMPARISON) {
    const world = new World(join(folder, `place-${turn}`));
    const verdict = await world.run();
    total.add(kind, verdict);
    const { different } = verdict;
    if (different > 0) process.stderr.write(`after round ${turn}: ${different} bytes differ\n`);
  }
  const of = (count: string) => total.get(kind, count);
  const more = of('wireBytes') / of('epochBytes') - 1;
  const again = of('againBytes') / of('receivedBytes');
  process.stdout.write(
    `${of('rounds')} kills and cuts: ${of('different')} bytes differ; ` +
      `${(of('wireBytes') / MIB).toFixed(1)} MiB on the wire for epochs of ` +
      `${(of('epochBytes') / MIB).toFixed(1)} MiB, ${(100 * more).toFixed(2)} % more; ` +
      `${(of('writtenBytes') / MIB).toFixed(1)} MiB were written, and ` +
      `${(of('receivedBytes') / MIB).toFixed(1)} MiB came, ` +
      `${(100 * again).toFixed(2)} % of it again\n`,
  );
  return of('different') === 0;
}

class World {
  readonly #place: ReplicationPlace;
  readonly #proxy = new CountingProxy();
  readonly #image: string;
  readonly #socket: string;
  readonly #received: string;
  #exported: Running | undefined;
  /** Of all lives of the agent. */
  #lines = '';
  #isWriting = true;
  #writtenBytes = 0;

  constructor(folder: string) {
    this.#received = join(folder, 'received');
    const noted = [`NODE_OPTIONS=--import ${noting}`, `FERRY_TORTURE_RECEIVED=${this.#received}`];
    this.#place = new ReplicationPlace(folder, {
      agent: (words) => words,
      provider: (words) => ['env', ...noted, ...words],
    });
    this.#image = join(folder, 'disk.img');
    this.#socket = join(folder, 'export.sock');
  }

  async run(): Promise<Verdict> {
    await this.#place.begin(this.#proxy);
    const file = openSync(this.#image, 'w');
    ftruncateSync(file, SIZE_BYTES);
    closeSync(file);
    await this.#export();
    const before = this.#proxy.bytes;
    const writer = this.#write();
    for (let round = 0; round < ROUNDS_PER_COMPARISON; round++) {
      await this.#goesOn();
      await delay(Math.random() * RUN_MS_MAX);
      await this.#harm();
    }
    this.#isWriting = false;
    await writer;
    const isComplete = await this.#stop();
    const wireBytes = this.#proxy.bytes - before;
    const received = receivedIn(this.#received);
    const different = isComplete ? await this.#compare() : SIZE_BYTES;
    await this.#place.end();
    this.#proxy.close();
    const rounds = ROUNDS_PER_COMPARISON;
    const { bytes: receivedBytes, againBytes } = received;
    return {
      ...{ rounds, different, wireBytes, receivedBytes, againBytes },
      ...{ epochBytes: this.#epochBytes(), writtenBytes: this.#writtenBytes },
    };
  }

  async #export(): Promise<void> {
    const { uri } = this.#place;
    const words = ['--to', uri, '--lane', 'tls', '--listen', `unix:${this.#socket}`, '--json'];
    this.#exported = this.#place.start('export', this.#image, '--name', 'v', ...words);
    await this.#exported.line('"state":"ready"');
  }

  /** Until an epoch has come since the last harm: else nothing would be on its way in the next. */
  async #goesOn(): Promise<void> {
    const before = Math.max(0, ...this.#exported!.stdout.split('\n').map(epochIn));
    await this.#exported!.line((line) => epochIn(line) > before);
  }

  /** A stop sends what is left for a while only; on a busy machine another one sends the rest. */
  async #stop(): Promise<boolean> {
    for (let count = 0; count < STOPS_MAX; count++) {
      if (count > 0) await this.#export();
      this.#exported!.kill('SIGINT');
      const { stdout, stderr } = await this.#exported!.finished();
      this.#lines += stdout;
      if (stdout.includes('"state":"complete"')) return true;
      process.stderr.write(`not complete: ${stderr.slice(-2_000)}\n`);
    }
    return false;
  }

  async #harm(): Promise<void> {
    const what = Math.floor(Math.random() * 3);
    if (what === 0) {
      this.#proxy.cut();
      await delay(Math.random() * CUT_MS_MAX);
      this.#proxy.mend();
    } else if (what === 1) {
      this.#exported!.kill('SIGKILL');
      this.#lines += (await this.#exported!.finished()).stdout;
      await this.#export();
    } else {
      const { provider } = this.#place;
      provider!.kill('SIGKILL');
      await provider!.finished();
      await this.#place.serve(`127.0.0.1:${this.#proxy.target}`);
    }
  }

  /** One connection after the other: they end with the agent. */
  async #write(): Promise<void> {
    while (this.#isWriting) {
      try {
        await using device = await connect(env, `nbd+unix:///v?socket=${this.#socket}`, {
          reconnectTimeoutMs: 0,
        });
        while (this.#isWriting) await this.#writeSome(device);
      } catch {
        await delay(20); // The agent was killed: what was not answered may be there or not.
      }
    }
  }

  async #writeSome(device: Device): Promise<void> {
    for (let count = 0; count < 20; count++) {
      const bytes = new Uint8Array(BLOCK_BYTES * (1 + Math.floor(Math.random() * 4)));
      env.random.fill(bytes);
      const blocks = (SIZE_BYTES - bytes.byteLength) / BLOCK_BYTES;
      this.#writtenBytes += bytes.byteLength;
      await device.write(bytes, Math.floor(Math.random() * blocks) * BLOCK_BYTES, 0);
    }
    if (Math.random() < 0.1) await device.flush();
    await delay(20);
  }

  /** Everything is compared by hashes, and the digest of the snapshot by the provider. */
  async #compare(): Promise<number> {
    const words = ['replicate', this.#image, '--name', 'v', '--to', this.#place.uri, '--once'];
    const { stdout } = await this.#place.start(...words, '--json').finished();
    const { snapshot, dataBytes, knownBytes, zeroBytes } = JSON.parse(
      stdout.trim().split('\n').at(-1)!,
    );
    return snapshot === undefined ? SIZE_BYTES : dataBytes + knownBytes + zeroBytes;
  }

  #epochBytes(): number {
    const epochs = this.#lines.split('\n').filter((line) => epochIn(line) > 0);
    return epochs.reduce((sum, line) => sum + Number(JSON.parse(line).sentBytes), 0);
  }
}

/** 0 if the line tells of none. */
function epochIn(line: string): number {
  return line.includes('"state":"epoch"') ? Number(JSON.parse(line).epoch) : 0;
}
