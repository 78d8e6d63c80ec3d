/** A real Ceph with its S3 gateway on this machine: one monitor, three storage daemons. */
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const call = promisify(execFile);

export const OSD_COUNT = 3;
const keys = { accessKeyId: 'FERRYTESTKEY', secretAccessKey: 'a-secret-of-the-tests' };

/** Time for all of it to come up on a busy machine of two cores. */
const START_TIMEOUT_MS = 180_000;
const POLL_MS = 200;

/** Between SIGTERM and SIGKILL. */
const STOP_TIMEOUT_MS = 5_000;

export type Ceph = {
  readonly folder: string;
  /** What a client needs in its environment. */
  readonly variables: Readonly<Record<string, string>>;
};

/** Names of daemons; each has its number in `pids/<name>`. */
type Daemon = 'mon' | 'rgw' | `osd.${number}`;

/** Takes half a minute. Whatever happens, `stopCeph` with the same folder ends all of it. */
export async function startCeph(folder: string): Promise<Ceph> {
  for (const name of ['mon', 'run', 'log', 'pids']) mkdirSync(join(folder, name));
  const [monitorPort, gatewayPort] = [await freePort(), await freePort()];
  const config = configOf(folder, monitorPort, gatewayPort);
  const at = configPath(folder);
  writeFileSync(at, config.text);
  await makeKeys(folder);
  const map = join(folder, 'monmap');
  const address = `[v2:127.0.0.1:${monitorPort}]`;
  await run('monmaptool', '--create', '--fsid', config.id, '--addv', 'a', address, map);
  const keyring = ['--keyring', join(folder, 'keyring')];
  await run('ceph-mon', '-c', at, '--mkfs', '-i', 'a', '--monmap', map, ...keyring);
  startDaemon(folder, 'mon', 'ceph-mon', ['-c', at, '-i', 'a', '-f']);
  await until('the monitor answers', () => ceph(folder, 'mon', 'stat'));
  for (let number = 0; number < OSD_COUNT; number++) await makeStorage(folder, number);
  await until('all storage daemons are up', async () => {
    const { num_up_osds: up } = JSON.parse(await ceph(folder, 'osd', 'stat', '-f', 'json'));
    if (up < OSD_COUNT) throw new Error(`${up} of ${OSD_COUNT} are up`);
  });
  startDaemon(folder, 'rgw', 'radosgw', ['-c', at, '-n', 'client.rgw.a', '-f']);
  const endpoint = `http://127.0.0.1:${gatewayPort}`;
  await until('the gateway answers', async () => {
    await (await fetch(endpoint)).arrayBuffer();
  });
  const user = ['user', 'create', '--uid=ferry', '--display-name=ferry'];
  const secrets = [`--access-key=${keys.accessKeyId}`, `--secret=${keys.secretAccessKey}`];
  await run('radosgw-admin', '-c', at, ...user, ...secrets);
  return {
    folder,
    variables: {
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
      AWS_REGION: 'default',
      AWS_ENDPOINT_URL: endpoint,
    },
  };
}

/** Ends every daemon that was started in the folder, also one that another process started. */
export async function stopCeph(folder: string): Promise<void> {
  const names: Daemon[] = ['rgw', 'mon'];
  for (let number = 0; number < OSD_COUNT; number++) names.push(`osd.${number}`);
  const pids = names.flatMap((name) => pidOf(folder, name) ?? []);
  for (const pid of pids) signal(pid, 'SIGTERM');
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (pids.some((pid) => signal(pid, 0)) && Date.now() < deadline) await pause();
  for (const pid of pids) signal(pid, 'SIGKILL');
  while (pids.some((pid) => signal(pid, 0))) await pause();
  rmSync(folder, { recursive: true, force: true });
}

/** As if its machine had lost power. */
export function killStorage(folder: string, number: number): void {
  const pid = pidOf(folder, `osd.${number}`);
  if (pid === undefined) throw new Error(`storage daemon ${number} was never started`);
  signal(pid, 'SIGKILL');
}

export function startStorage(folder: string, number: number): void {
  const keyring = join(folder, `osd-${number}`, 'keyring');
  const words = ['-c', configPath(folder), '-i', String(number), '-f', '--keyring', keyring];
  startDaemon(folder, `osd.${number}`, 'ceph-osd', words);
}

function configPath(folder: string): string {
  return join(folder, 'ceph.conf');
}

/** A command of the cluster's own; never one that needs a manager, which is not there. */
async function ceph(folder: string, ...words: string[]): Promise<string> {
  return run('ceph', '-c', configPath(folder), '--connect-timeout', '5', ...words);
}

async function run(command: string, ...words: string[]): Promise<string> {
  const { stdout } = await call(command, words, { timeout: 60_000 });
  return stdout;
}

async function makeKeys(folder: string): Promise<void> {
  const keyring = join(folder, 'keyring');
  const caps = (...pairs: [string, string][]) => pairs.flatMap((pair) => ['--cap', ...pair]);
  const all = caps(['mon', 'allow *'], ['osd', 'allow *']);
  const gateway = caps(['mon', 'allow rw'], ['osd', 'allow rwx']);
  const made = ['--gen-key', '-n'];
  await run(
    'ceph-authtool',
    '--create-keyring',
    keyring,
    ...made,
    'mon.',
    ...caps(['mon', 'allow *']),
  );
  await run('ceph-authtool', keyring, ...made, 'client.admin', ...all);
  await run('ceph-authtool', keyring, ...made, 'client.rgw.a', ...gateway);
}

async function makeStorage(folder: string, number: number): Promise<void> {
  const place = join(folder, `osd-${number}`);
  mkdirSync(place);
  const id = randomUUID();
  const secret = (await run('ceph-authtool', '--gen-print-key')).trim();
  const secrets = join(place, 'secrets.json');
  writeFileSync(secrets, JSON.stringify({ cephx_secret: secret }), { mode: 0o600 });
  await ceph(folder, 'osd', 'new', id, '-i', secrets);
  rmSync(secrets);
  const keyring = join(place, 'keyring');
  const named = ['-n', `osd.${number}`, '--add-key', secret];
  await run('ceph-authtool', '--create-keyring', keyring, ...named);
  const own = ['-c', configPath(folder), '-i', String(number), '--keyring', keyring];
  await run('ceph-osd', ...own, '--mkfs', '--osd-uuid', id);
  startStorage(folder, number);
}

function startDaemon(folder: string, name: Daemon, command: string, words: string[]): void {
  const log = openSync(join(folder, 'log', `${name}.out`), 'a');
  const child = spawn(command, words, { stdio: ['ignore', log, log], detached: true });
  if (child.pid === undefined) throw new Error(`${command} could not be started`);
  writeFileSync(join(folder, 'pids', name), String(child.pid));
  child.unref();
}

function pidOf(folder: string, name: Daemon): number | undefined {
  const path = join(folder, 'pids', name);
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
}

/** False if there is no such process any more, or only what its parent has not asked about yet. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

async function until(what: string, happens: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await happens();
      return;
    } catch (cause) {
      if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`, { cause });
    }
    await pause();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Two copies of each object, on daemons of one machine; small pools, little memory. */
function configOf(
  folder: string,
  monitorPort: number,
  gatewayPort: number,
): { readonly id: string; readonly text: string } {
  const id = randomUUID();
  const text = `[global]
fsid = ${id}
mon host = v2:127.0.0.1:${monitorPort}
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
run dir = ${folder}/run
admin socket = ${folder}/run/$cluster-$name.$pid.asok
log file = ${folder}/log/$name.log
keyring = ${folder}/keyring
osd crush chooseleaf type = 0
osd pool default size = 2
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon data avail warn = 2
mon data avail crit = 1
osd objectstore = bluestore
bluestore block size = 8589934592
bluestore fsck on mount = false
osd memory target = 939524096
[mon.a]
mon data = ${folder}/mon/a
mon addr = v2:127.0.0.1:${monitorPort}
[osd]
osd data = ${folder}/osd-$id
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}
rgw dns name = localhost
rgw enable usage log = false
`;
  return { id, text };
}
