/** Runs programs and measures them: wall-clock seconds and peak memory. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';

export type Command = {
  readonly words: readonly [string, ...string[]];
  readonly directory?: string;
  readonly variables?: Readonly<Record<string, string>>;
  /** Where its output goes; by default it is kept for an error message. */
  readonly outputPath?: string;
};

export type Measured = {
  readonly seconds: number;
  /** The largest VmHWM (peak resident set) of any one process of the command's process group. */
  readonly peakBytes: number;
};

/** A process's own peak never falls: reading it this often misses only the last moment. */
const PEAK_INTERVAL_MS = 20;
/** Looking for new processes of the group means reading all of /proc. */
const GROUP_INTERVAL_MS = 200;
const OUTPUT_CHARACTERS_MAX = 20_000;
/** Of the counts of processor time in /proc. */
const TICKS_PER_SECOND = 100;

export const PEAK_NOTE =
  'peak memory: the largest VmHWM of any one process of the command, read every 20 ms';

export function isInstalled(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program]).status === 0;
}

/** The version line of a program, for the record. */
export function versionOf(...words: [string, ...string[]]): string {
  const { stdout, stderr } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' });
  return `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n')[0] ?? '';
}

/** Runs `command` to its end; a status other than 0 is an error with what it printed. */
export async function measure(command: Command): Promise<Measured> {
  const [program, ...words] = command.words;
  const outputFd = command.outputPath === undefined ? 'pipe' : openSync(command.outputPath, 'w');
  const startMs = performance.now();
  const child = spawn(program, words, {
    cwd: command.directory,
    env: { ...process.env, ...command.variables },
    stdio: ['ignore', outputFd, 'pipe'],
    detached: true, // A process group of its own, by which its helpers are found.
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (text) => {
      printed = `${printed}${text}`.slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  const stop = () => stopGroup(child.pid);
  process.once('exit', stop);
  const group = child.pid === undefined ? undefined : watchGroup(child.pid);
  const [status] = await once(child, 'exit');
  const seconds = (performance.now() - startMs) / 1000;
  process.off('exit', stop);
  const peakBytes = group?.stop() ?? 0;
  if (typeof outputFd === 'number') closeSync(outputFd);
  if (status !== 0) throw new Error(`${command.words.join(' ')}: status ${status}\n${printed}`);
  return { seconds, peakBytes };
}

/** Without it a command in its own process group would outlive a benchmark that was interrupted. */
function stopGroup(leaderId: number | undefined): void {
  try {
    if (leaderId !== undefined) process.kill(-leaderId, 'SIGTERM');
  } catch {
    // It has ended by itself.
  }
}

function watchGroup(leaderId: number): { stop(): number } {
  let peakBytes = 0;
  let ids = [leaderId];
  const readPeaks = () => {
    for (const id of ids) peakBytes = Math.max(peakBytes, peakOf(id));
  };
  readPeaks();
  const peaks = setInterval(readPeaks, PEAK_INTERVAL_MS);
  const groups = setInterval(() => {
    ids = membersOf(leaderId);
  }, GROUP_INTERVAL_MS);
  return {
    stop() {
      clearInterval(peaks);
      clearInterval(groups);
      return peakBytes;
    },
  };
}

function peakOf(id: number): number {
  return memoryIn(readProc(`${id}/status`), 'VmHWM');
}

/** The largest resident set of a process until now. */
export function peakBytes(id: number): number {
  return memoryIn(readFileSync(`/proc/${id}/status`, 'utf8'), 'VmHWM');
}

export function residentBytes(id: number): number {
  return memoryIn(readFileSync(`/proc/${id}/status`, 'utf8'), 'VmRSS');
}

function memoryIn(status: string, field: 'VmHWM' | 'VmRSS'): number {
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  return Number(kilobytes ?? 0) * 1024;
}

/** Processor time of a process and its threads until now. */
export function processorSeconds(id: number): number {
  // Fields after the name, which is in parentheses: the 12th and 13th are in user and system.
  const fields = readFileSync(`/proc/${id}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** What a thread took of a processor until now, and in how many goes. */
export type ThreadTime = { readonly seconds: number; readonly slices: number };

/** Of each thread of a process, by its id; documented in sched-stats of the kernel. */
export function threadTimes(id: number): Map<number, ThreadTime> {
  const times = readdirSync(`/proc/${id}/task`).map((thread) => {
    const [nanoseconds, , slices] = readProc(`${id}/task/${thread}/schedstat`).split(' ');
    const time = { seconds: Number(nanoseconds ?? 0) / 1e9, slices: Number(slices ?? 0) };
    return [Number(thread), time] as const;
  });
  return new Map(times);
}

function membersOf(groupId: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((id) => {
      // Fields after the name, which is in parentheses: state, parent, group.
      const [, , group] = readProc(`${id}/stat`).split(') ').at(-1)!.split(' ');
      return Number(group) === groupId;
    })
    .map(Number);
}

/** Empty if the process has ended meanwhile. */
function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}
