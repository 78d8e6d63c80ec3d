/** Bytes on the wire: generations of a disk, replayed as writes; and what others need for them. */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { isZero } from '../src/codec/index.ts';
import { nodeEnv } from '../src/core/index.ts';
import type { Device } from '../src/device/index.ts';
import { connect } from '../src/nbd/index.ts';
import { runOk } from '../test/interop/processes.ts';
import { CountingProxy, ReplicationPlace } from '../test/interop/replication-place.ts';
import type { BenchOptions } from './main.ts';
import { isInstalled } from './processes.ts';
import { OWN_SUBJECT, type Report } from './report.ts';

const GENERATIONS = ['g0', 'g1', 'g2', 'g3'] as const;
const STEP_BYTES = 2 ** 20;
const BLOCK_BYTES = 4096;
const SFTP_SERVER = '/usr/lib/openssh/sftp-server';

export async function wireBytes(
  report: Report,
  options: BenchOptions,
  folder: string,
  images: string | undefined,
): Promise<void> {
  if (images === undefined) {
    return report.absent('wire', '--images DIR, made by scripts/make-images.sh, is missing');
  }
  const pathOf = (generation: string) => join(images, `${generation}.img`);
  await ours(report, options, folder, pathOf);
  for (const peer of [rsync, restic, borg]) {
    if (!isInstalled(peer.name)) {
      report.absent(peer.name, 'not installed');
      continue;
    }
    await theirs(report, options, join(folder, peer.name), pathOf, peer);
  }
  report.note('wire: all bytes inside of TCP (ours) or of the pipe in the place of ssh, both ways');
}

function add(report: Report, generation: string, subject: string, metric: string, bytes: number) {
  const row = { case: `wire: ${generation}`, subject, metric, unit: 'MB' } as const;
  report.add({ ...row, value: bytes / 1e6, better: 'less' });
}

async function ours(
  report: Report,
  options: BenchOptions,
  folder: string,
  pathOf: (generation: string) => string,
): Promise<void> {
  const place = new ReplicationPlace(folder);
  const proxy = new CountingProxy();
  await place.begin(proxy);
  const image = join(folder, 'disk.img');
  await runOk('cp', ['--sparse=always', pathOf('g0'), image]);
  const socket = join(folder, 'export.sock');
  for (const [index, generation] of GENERATIONS.entries()) {
    let before = proxy.bytes;
    const held = await sizeOf(join(folder, 'repository'));
    const words = ['export', image, '--name', 'disk', '--to', place.uri, '--lane', 'tls'];
    const more = ['--listen', `unix:${socket}`, '--interval', '1h', '--sync=10m', '--json'];
    const exported = place.start(...words, ...more);
    await exported.line('"state":"epoch"');
    if (index > 0) {
      before = proxy.bytes;
      await using device = await connect(nodeEnv(), `nbd+unix:///disk?socket=${socket}`);
      await replay(device, pathOf(GENERATIONS[index - 1]!), pathOf(generation));
      await device.flush();
    }
    const sent = proxy.bytes - before;
    exported.kill('SIGINT');
    const { stderr, stdout } = await exported.finished();
    const epochs = stdout.split('\n').filter((line) => line.includes('"state":"epoch"'));
    if (stderr !== '') options.say(stderr);
    const once = place.start('replicate', image, '--name', 'disk', '--to', place.uri, '--once');
    await once.finished();
    const grown = (await sizeOf(join(folder, 'repository'))) - held;
    add(report, generation, OWN_SUBJECT, 'on the wire', sent);
    add(report, generation, OWN_SUBJECT, 'the repository grows by', grown);
    const text = `${(sent / 1e6).toFixed(2)} MB sent, ${(grown / 1e6).toFixed(2)} MB stored`;
    options.say(`${generation}: ${text}, ${(sent / grown).toFixed(3)}, ${epochs.length} epochs`);
  }
  proxy.close();
  await place.end();
}

async function sizeOf(path: string): Promise<number> {
  return Number((await runOk('du', ['-sb', path])).stdout.split('\t')[0]);
}

/** Writes the blocks that differ; what has become zero is zeroed. */
async function replay(device: Device, before: string, after: string): Promise<void> {
  const files = [openSync(before, 'r'), openSync(after, 'r')];
  const [old, now] = [Buffer.alloc(STEP_BYTES), Buffer.alloc(STEP_BYTES)];
  for (let at = 0; at < device.sizeBytes; at += STEP_BYTES) {
    for (const [index, bytes] of [old, now].entries()) {
      readSync(files[index]!, bytes, 0, STEP_BYTES, at);
    }
    if (old.equals(now)) continue;
    for (let block = 0; block < STEP_BYTES; block += BLOCK_BYTES) {
      const bytes = now.subarray(block, block + BLOCK_BYTES);
      if (bytes.equals(old.subarray(block, block + BLOCK_BYTES))) continue;
      if (isZero(bytes)) await device.zero(BLOCK_BYTES, at + block, 0);
      else await device.write(bytes, at + block, 0);
    }
  }
  for (const file of files) closeSync(file);
}

type Peer = {
  readonly name: string;
  /** Runs before the first generation. */
  init(place: PeerPlace): readonly string[] | undefined;
  send(place: PeerPlace, generation: string): readonly string[];
};

type PeerPlace = {
  readonly folder: string;
  readonly image: string;
  /** The command in the place of ssh. */
  readonly shell: string;
};

const rsync: Peer = {
  name: 'rsync',
  init: () => undefined,
  send: ({ folder, image, shell }) => [
    ...['rsync', '--inplace', '-z', '--no-whole-file', '-e', shell],
    ...[image, `there:${folder}/remote/`],
  ],
};

const resticWords = ({ folder, shell }: PeerPlace) => [
  ...['restic', '--quiet', '-r', `sftp:there:${folder}/remote/repository`],
  ...['-o', `sftp.command=${shell} ${SFTP_SERVER}`],
];

const restic: Peer = {
  name: 'restic',
  init: (place) => [...resticWords(place), 'init'],
  send: (place) => [...resticWords(place), 'backup', place.image],
};

const borg: Peer = {
  name: 'borg',
  init: ({ folder }) => ['borg', 'init', '-e', 'none', `ssh://there/${folder}/remote/repository`],
  send: ({ folder, image }, generation) => [
    ...['borg', 'create', '--compression', 'zstd,1', '--chunker-params', 'fixed,65536'],
    ...[`ssh://there/${folder}/remote/repository::${generation}`, image],
  ],
};

async function theirs(
  report: Report,
  options: BenchOptions,
  folder: string,
  pathOf: (generation: string) => string,
  peer: Peer,
): Promise<void> {
  mkdirSync(join(folder, 'remote'), { recursive: true });
  const counts = join(folder, 'counts');
  const counter = join(import.meta.dirname, 'replicate.count.ts');
  const shell = `${process.execPath} ${counter} ${counts}`;
  const place = { folder, image: join(folder, 'disk.img'), shell };
  const env = {
    ...process.env,
    ...{ HOME: folder, XDG_CACHE_HOME: folder, RESTIC_PASSWORD: 'x', BORG_RSH: shell },
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  };
  const execute = async ([program = '', ...words]: readonly string[]) => {
    rmSync(counts, { recursive: true, force: true });
    await runOk(program, words, { env, cwd: folder, timeoutMs: 200_000 });
    const all = readdirSync(counts).map((name) => readFileSync(join(counts, name), 'utf8'));
    return all.reduce((sum, text) => sum + Number(text), 0);
  };
  const init = peer.init(place);
  if (init !== undefined) await execute(init);
  for (const generation of GENERATIONS) {
    await runOk('cp', ['--sparse=always', pathOf(generation), place.image]);
    const bytes = await execute(peer.send(place, generation));
    add(report, generation, peer.name, 'on the wire', bytes);
    options.say(`${peer.name} ${generation}: ${(bytes / 1e6).toFixed(2)} MB sent`);
  }
}
