/** A Linux guest without KVM: built once per cache folder, booted with a job, bounded in time. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, open, readFile, realpath, rename, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runOk, start } from '../interop/processes.ts';
import { findTool } from '../interop/tools.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const here = fileURLToPath(new URL('.', import.meta.url));

const buildTimeoutMs = 15 * 60_000;
/** Ends a hang; a host with ten other jobs has needed eleven minutes for the longest job. */
const bootTimeoutMs = 18 * 60_000;
const memoryMiB = 1024;
const processors = 2;
/** The job's disk; larger than any script. */
const jobBytes = 64 * 1024;

const neededTools = {
  'qemu-system-x86_64': 'qemu-system-x86',
  debootstrap: 'debootstrap',
  busybox: 'busybox-static',
  cpio: 'cpio',
  depmod: 'kmod',
  'mkfs.ext4': 'e2fsprogs',
} as const;

/** FERRY_VM_CACHE, or a folder of the user's cache; never in the repository. */
export function cacheFolder(): string {
  const { FERRY_VM_CACHE, XDG_CACHE_HOME } = process.env;
  return resolve(FERRY_VM_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'ferry-vm'));
}

/** Whoever runs this wants the guest: what is missing is a failure, all of it named at once. */
function demandTools(): void {
  const missing = Object.entries(neededTools)
    .filter(([tool]) => findTool(tool) === undefined)
    .map(([tool, debianPackage]) => `${tool} (Debian: ${debianPackage})`);
  if (process.getuid?.() !== 0) missing.push('root, to build the guest');
  if (missing.length > 0) throw new Error(`MISSING for the guest: ${missing.join(', ')}`);
}

export type Guest = {
  readonly folder: string;
  /** A file system with the compiled project, its packages and Node, mounted at /app. */
  readonly appImage: string;
};

export async function guest(): Promise<Guest> {
  demandTools();
  const folder = cacheFolder();
  await mkdir(folder, { recursive: true });
  await runOk(join(here, 'build-guest.sh'), [join(folder, 'guest')], {
    timeoutMs: buildTimeoutMs,
  });
  const appImage = join(folder, 'app.img');
  await packApp(folder, appImage);
  return { folder: join(folder, 'guest'), appImage };
}

/** What `npm pack` and an installation would put there, without touching the clone's dist. */
async function packApp(folder: string, image: string): Promise<void> {
  const stage = await mkdtemp(join(folder, 'app-'));
  try {
    const compiled = join(stage, 'dist');
    await promisify(execFile)(join(root, 'node_modules/.bin/tsc'), [
      ...['-p', join(root, 'tsconfig.build.json'), '--outDir', compiled],
    ]);
    await cp(join(root, 'bin'), join(stage, 'bin'), { recursive: true });
    await cp(join(root, 'package.json'), join(stage, 'package.json'));
    for (const path of await productionPackages()) {
      await cp(path, join(stage, relative(root, path)), { recursive: true, dereference: true });
    }
    const node = await realpath(process.execPath);
    await mkdir(join(stage, 'node_modules/node/bin'), { recursive: true });
    await cp(node, join(stage, 'node_modules/node/bin/node'));
    await rm(`${image}.new`, { force: true });
    const mkfs = ['-q', '-F', '-O', '^has_journal', '-d', stage, `${image}.new`, '400M'];
    await runOk('/usr/sbin/mkfs.ext4', mkfs);
    await rename(`${image}.new`, image);
  } finally {
    await rm(stage, { recursive: true });
  }
}

async function productionPackages(): Promise<string[]> {
  const { stdout } = await promisify(execFile)(
    'npm',
    ['ls', '--omit=dev', '--all', '--parseable'],
    { cwd: root },
  );
  return stdout.split('\n').filter((path) => path.includes('/node_modules/'));
}

export type Boot = {
  /** A shell script that runs as root in the guest. */
  readonly job: string;
  /** The root disk as QEMU names it; by default a throw-away copy of the guest's. */
  readonly rootDisk?: string;
  /** Slirp: the host is 10.0.2.2, the guest 10.0.2.15. */
  readonly network?: boolean;
  /** More words for QEMU. */
  readonly more?: readonly string[];
  /** Runs beside the guest, which is ended if it fails. */
  readonly beside?: () => Promise<void>;
};

/** Boots, runs the job, and answers what it printed; rejects unless its status is 0. */
export async function boot({ folder, appImage }: Guest, options: Boot): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), 'ferry-vm-'));
  try {
    const jobDisk = join(scratch, 'job');
    await writePadded(jobDisk, options.job);
    const serial = join(scratch, 'serial');
    const rootDisk = options.rootDisk ?? join(folder, 'root.img');
    const isCopy = options.rootDisk === undefined;
    await using machine = start('qemu-system-x86_64', [
      ...['-M', 'pc', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-nodefaults'],
      ...['-m', `${memoryMiB}`, '-smp', `${processors}`, '-display', 'none', '-no-reboot'],
      ...['-serial', `file:${serial}`, '-no-user-config'],
      ...['-kernel', join(folder, 'vmlinuz'), '-initrd', join(folder, 'initramfs.gz')],
      ...['-append', 'console=ttyS0 quiet panic=-1 oops=panic'],
      ...['-drive', drive(rootDisk, isCopy ? 'snapshot=on' : 'cache=none,discard=unmap')],
      ...['-drive', drive(jobDisk, 'readonly=on'), '-drive', drive(appImage, 'readonly=on')],
      ...(options.network === true ? ['-nic', 'user,model=virtio-net-pci'] : ['-nic', 'none']),
      ...(options.more ?? []),
    ]);
    let trouble: unknown;
    const beside = options.beside?.().catch((error: unknown) => {
      trouble = error;
      machine.kill('SIGKILL');
    });
    await machine.finished(bootTimeoutMs).catch((error: unknown) => {
      trouble ??= error;
    });
    await beside;
    const text = (await readFile(serial, 'utf8').catch(() => '')).replaceAll('\r', '');
    const job = /^@@ job begins\n([\s\S]*?)^@@ job ended (\d+)$/m.exec(text);
    if (job?.[2] === '0' && trouble === undefined) return job[1]!;
    const what = job === null ? 'did not finish its job' : `ended its job with ${job[2]}`;
    // What went wrong first stands at the beginning, how it ended at the end.
    const steps = (text.match(/^step: .*$/gm) ?? []).join('\n');
    const shown = text.length > 16_000 ? `${text.slice(0, 8000)}\n...\n${text.slice(-8000)}` : text;
    throw new Error(`the guest ${what}\n${machine.stderr}\n${steps}\n\n${shown}`, {
      cause: trouble,
    });
  } finally {
    await rm(scratch, { recursive: true });
  }
}

function drive(file: string, more: string): string {
  return `file=${file},format=raw,if=virtio,${more}`;
}

async function writePadded(path: string, text: string): Promise<void> {
  await using file = await open(path, 'w');
  await file.write(text);
  await file.truncate(jobBytes);
}

/** A job of this folder, behind the helpers that all jobs use. */
export async function jobText(name: string): Promise<string> {
  const helpers = await readFile(join(here, 'jobs/helpers.sh'), 'utf8');
  return `${helpers}\n${await readFile(join(here, 'jobs', name), 'utf8')}`;
}

export const ferryPath = join(dirname(here), '../bin/ferry');
