/** Two network namespaces and a link between them, whose rate, delay and loss are chosen. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isInstalled } from './processes.ts';

export type LinkOptions = {
  readonly megabits: number;
  /** There and back, without queue. */
  readonly roundTripMs: number;
  readonly lossPercent: number;
  readonly congestionControl: string;
  readonly seed: number;
};

const atExitActs: (() => void)[] = [];
process.once('exit', () => {
  for (const act of atExitActs.reverse()) act();
});

/** One listener for all that has to be undone, also after an error. */
export function atExit(act: () => void): void {
  atExitActs.push(act);
}

/** A router's buffer. */
const QUEUE_MS = 50;
const READY_WITHIN_MS = 5_000;

export type Ways = { readonly forth: WayCount; readonly back: WayCount };
type WayCount = {
  readonly taken: number;
  /** What went in, whether or not it came out. */
  readonly takenBytes: number;
  readonly sent: number;
  readonly sentBytes: number;
  readonly lost: number;
  readonly dropped: number;
};

/** Why there is no link here, or undefined. */
export function linkProblem(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  for (const [program, package_] of [
    ['ip', 'iproute2'],
    ['gcc', 'gcc'],
  ] as const) {
    if (!isInstalled(program)) return `${program} is not installed; Debian: ${package_}`;
  }
  return undefined;
}

export class Link {
  readonly #box: ChildProcess;
  readonly #names: readonly [string, string];
  #output = '';

  private constructor(box: ChildProcess, names: readonly [string, string]) {
    this.#box = box;
    this.#names = names;
    box.stdout!.on('data', (text) => {
      this.#output += text;
    });
  }

  static async open(options: LinkOptions): Promise<Link> {
    const names = [`ferry-a-${process.pid}`, `ferry-b-${process.pid}`] as const;
    for (const name of names) ip('netns', 'add', name);
    atExit(() => removeNamespaces(names));
    const words = [
      ...names,
      ...[(options.roundTripMs * 1000) / 2, options.megabits * 1e6],
      ...[options.lossPercent * 10_000, QUEUE_MS * 1000, options.seed],
    ];
    const box = spawn(program(), words.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
    atExit(() => box.kill('SIGKILL'));
    const link = new Link(box, names);
    await Promise.race([
      once(box.stdout!, 'data'),
      once(box, 'exit').then(() => Promise.reject(new Error('the link ended'))),
      new Promise((_, reject) => {
        setTimeout(() => reject(new Error('no link')), READY_WITHIN_MS).unref();
      }),
    ]);
    link.#configure(options.congestionControl);
    return link;
  }

  /** The host of an end as the other one sees it. */
  static host(end: 0 | 1): string {
    return `10.97.0.${end + 1}`;
  }

  /** A command as it runs at an end of the link. */
  at(end: 0 | 1, words: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.#names[end], ...words];
  }

  /** All packets are lost for so long. */
  async cut(seconds: number): Promise<void> {
    this.#box.kill('SIGUSR1');
    await delay(seconds * 1000);
    this.#box.kill('SIGUSR1');
  }

  async close(): Promise<Ways> {
    if (this.#box.exitCode === null) {
      const ended = once(this.#box, 'close');
      this.#box.kill('SIGTERM');
      await ended;
      removeNamespaces(this.#names);
    }
    return JSON.parse(this.#output.trim().split('\n').at(-1)!);
  }

  #configure(congestionControl: string): void {
    allow(congestionControl);
    for (const end of [0, 1] as const) {
      const inside = (...words: string[]) => run(...this.at(end, words));
      inside('ip', 'link', 'set', 'lo', 'up');
      inside('ip', 'link', 'set', 'dev', 'link', 'txqueuelen', '1000', 'mtu', '1500', 'up');
      const [own, other] = [Link.host(end), Link.host(end === 0 ? 1 : 0)];
      inside('ip', 'address', 'add', own, 'peer', other, 'dev', 'link');
      const setting = `net.ipv4.tcp_congestion_control=${congestionControl}`;
      inside('sysctl', '--quiet', '--write', setting);
    }
  }
}

const CONTROLS = '/proc/sys/net/ipv4/tcp_available_congestion_control';
const ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';

/** Namespaces may choose what the host allows; it is told back at the end. */
function allow(congestionControl: string): void {
  const words = (path: string) => readFileSync(path, 'utf8').trim().split(' ');
  if (words(ALLOWED).includes(congestionControl)) return;
  const available = words(CONTROLS);
  if (!available.includes(congestionControl)) {
    throw new Error(`TCP has no ${congestionControl} here, only ${available.join(', ')}`);
  }
  const before = words(ALLOWED);
  atExit(() => writeFileSync(ALLOWED, before.join(' ')));
  writeFileSync(ALLOWED, [...before, congestionControl].join(' '));
}

let built: string | undefined;

function program(): string {
  if (built !== undefined) return built;
  const folder = mkdtempSync(join(tmpdir(), 'ferry-link-'));
  atExit(() => rmSync(folder, { recursive: true, force: true }));
  built = join(folder, 'link');
  run('gcc', '-O2', '-Wall', '-o', built, join(import.meta.dirname, 'wan.link.c'));
  return built;
}

function ip(...words: string[]): void {
  run('ip', ...words);
}

function run(...words: string[]): void {
  execFileSync(words[0]!, words.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
}

function removeNamespaces(names: readonly string[]): void {
  for (const name of names) spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
}
