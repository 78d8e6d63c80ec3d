/** A provider and an agent's state on this machine, for benchmarks of replication. */
import { mkdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { type Running, runOk, start } from '../test/interop/processes.ts';

export const ferry = join(import.meta.dirname, '../bin/ferry');

export class ReplicationPlace {
  readonly folder: string;
  provider: Running | undefined;
  /** Of the provider, or of the proxy before it. */
  uri = '';
  readonly #variables: NodeJS.ProcessEnv;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    this.folder = folder;
    this.#variables = {
      ...process.env,
      FERRY_REPO: join(folder, 'repository'),
      FERRY_CACHE_DIR: join(folder, 'cache'),
    };
  }

  get agent(): NodeJS.ProcessEnv {
    return { ...this.#variables, FERRY_STATE_DIR: join(this.folder, 'agent') };
  }

  /** Starts the provider and pairs with it, through `proxy` if there is one. */
  async begin(proxy?: CountingProxy): Promise<void> {
    const env = { ...this.#variables, FERRY_STATE_DIR: join(this.folder, 'provider') };
    await runOk(ferry, ['init'], { env });
    this.provider = start(ferry, ['serve', '--json', '--listen', '127.0.0.1:0'], { env });
    const { uri, token } = JSON.parse(await this.provider.line('"state":"ready"'));
    this.uri = uri;
    if (proxy !== undefined) this.uri = `ferry://127.0.0.1:${await proxy.listen(portOf(uri))}`;
    await runOk(ferry, ['pair', this.uri, token], { env: this.agent });
  }

  start(...words: string[]): Running {
    return start(ferry, words, { env: this.agent, cwd: this.folder, timeoutMs: 240_000 });
  }

  async end(): Promise<void> {
    this.provider?.kill('SIGTERM');
    await this.provider?.finished();
  }
}

/** Passes a connection on, and counts its bytes: what is inside of TCP, in both directions. */
export class CountingProxy {
  readonly #server: Server;
  #target = 0;
  bytes = 0;

  constructor() {
    this.#server = createServer((from) => {
      const to = connect(this.#target, '127.0.0.1');
      for (const [a, b] of [
        [from, to],
        [to, from],
      ] as const) {
        a.on('data', (part) => {
          this.bytes += part.byteLength;
        });
        a.pipe(b);
        a.on('error', () => b.destroy());
      }
    });
  }

  async listen(target: number): Promise<number> {
    this.#target = target;
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return (this.#server.address() as { port: number }).port;
  }

  close(): void {
    this.#server.close();
  }
}

export function portOf(uri: string): number {
  return Number(new URL(uri.replace('ferry:', 'http:')).port);
}

/** Seconds of processor time that a process has taken. */
export function processorSeconds({ pid }: Running): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function peakBytes({ pid }: Running): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(text)?.[1]) * 1024;
}
