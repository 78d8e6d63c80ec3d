/** A provider and an agent's state on this machine, and a link between them that can be cut. */
import { mkdirSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Running, runOk, start } from './processes.ts';

export const ferry = join(import.meta.dirname, '../../bin/ferry');

type Words = readonly string[];

/** How a command is run where each side is: in a network namespace, for one. */
export type Sides = Readonly<Record<'agent' | 'provider', (words: Words) => Words>>;

const here: Sides = { agent: (words) => words, provider: (words) => words };

export class ReplicationPlace {
  readonly folder: string;
  provider: Running | undefined;
  /** Of the provider, or of the proxy before it. */
  uri = '';
  readonly #variables: NodeJS.ProcessEnv;
  readonly #sides: Sides;

  constructor(folder: string, sides = here) {
    mkdirSync(folder, { recursive: true });
    this.folder = folder;
    this.#sides = sides;
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
  async begin(proxy?: CountingProxy, listen = '127.0.0.1:0'): Promise<void> {
    await runOk(ferry, ['init'], { env: this.#variables });
    const { uri, token } = await this.serve(listen);
    this.uri = uri;
    if (proxy !== undefined) this.uri = `ferry://127.0.0.1:${await proxy.listen(portOf(uri))}`;
    const [program = '', ...rest] = this.#sides.agent([ferry, 'pair', this.uri, token]);
    await runOk(program, rest, { env: this.agent });
  }

  /** Starts the provider, again after it was killed. */
  async serve(listen: string): Promise<{ readonly uri: string; readonly token: string }> {
    const env = { ...this.#variables, FERRY_STATE_DIR: join(this.folder, 'provider') };
    const words = [ferry, 'serve', '--json', '--listen', listen];
    const [program = '', ...rest] = this.#sides.provider(words);
    this.provider = start(program, rest, { env });
    return JSON.parse(await this.provider.line('"state":"ready"'));
  }

  start(...words: string[]): Running {
    const [program = '', ...rest] = this.#sides.agent([ferry, ...words]);
    return start(program, rest, { env: this.agent, cwd: this.folder, timeoutMs: 240_000 });
  }

  async end(): Promise<void> {
    this.provider?.kill('SIGTERM');
    await this.provider?.finished();
  }
}

/** Passes a connection on, and counts its bytes: what is inside of TCP, in both directions. */
export class CountingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  target = 0;
  #isCut = false;
  bytes = 0;

  constructor() {
    this.#server = createServer((from) => {
      if (this.#isCut) {
        from.destroy();
        return;
      }
      const to = connect(this.target, '127.0.0.1');
      for (const [a, b] of [
        [from, to],
        [to, from],
      ] as const) {
        a.on('data', (part) => {
          this.bytes += part.byteLength;
        });
        a.pipe(b);
        a.on('error', () => b.destroy());
        this.#sockets.add(a);
        a.on('close', () => {
          this.#sockets.delete(a);
          b.destroy();
        });
      }
    });
  }

  async listen(target: number): Promise<number> {
    this.target = target;
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return (this.#server.address() as { port: number }).port;
  }

  /** From now on nothing goes through, and what is connected is cut in the middle. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}

export function portOf(uri: string): number {
  return Number(new URL(uri.replace('ferry:', 'http:')).port);
}
