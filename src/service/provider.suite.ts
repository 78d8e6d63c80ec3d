/** A provider and its agents in one process: real sockets and TLS, folders of their own. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codecPool } from '../codec/index.ts';
import { type Env, type Extent, nodeEnv, type StateFolder, toHex } from '../core/index.ts';
import { memory } from '../device/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import type { Agent } from '../transfer/replicate/index.ts';
import { Counts } from './counts.ts';
import { nodeIdentity } from './node-identity.ts';
import { PeerBook } from './peer-book.ts';
import { connectProvider, pairWith } from './provider-link.ts';
import { ReplicaServer, type ReplicaServerOptions, type ServerEvent } from './replica-server.ts';
import type { TenantOptions } from './tenant.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

const anywhere = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

export class Place implements AsyncDisposable {
  readonly env: Env;
  readonly folder: string;
  readonly counts = new Counts();
  readonly events: ServerEvent[] = [];
  readonly onEpoch: ((volume: string, changed: readonly Extent[]) => void)[] = [];
  readonly #open = new AsyncDisposableStack();
  #server: ReplicaServer | undefined;
  #listeners = new Set<() => void>();

  static async make(change: (env: Env) => Env = (env) => env): Promise<Place> {
    return new Place(change(nodeEnv()), await mkdtemp(join(tmpdir(), 'ferry-provider-')));
  }

  private constructor(env: Env, folder: string) {
    this.env = env;
    this.folder = folder;
    this.#open.defer(() => rm(folder, { recursive: true }));
  }

  get server(): ReplicaServer {
    return this.#server!;
  }

  /** To be ended with the place. */
  use<T extends AsyncDisposable>(resource: T): T {
    return this.#open.use(resource);
  }

  async start(
    options: Partial<ReplicaServerOptions> = {},
    tenants: readonly string[] = [''],
  ): Promise<ReplicaServer> {
    const { env } = this;
    const node = await this.node('provider');
    const all: TenantOptions[] = [];
    for (const name of tenants) all.push(await this.#tenant(name));
    this.#server = await ReplicaServer.start(env, {
      // Started once more it is found where it was.
      ...{ ...node, tenants: all, address: this.#server?.address ?? anywhere },
      onEvent: (event) => {
        this.counts.add(event);
        this.events.push(event);
        if (event.event === 'epoch') {
          for (const tell of this.onEpoch) tell(event.volume, event.changed);
        }
        for (const listener of this.#listeners) listener();
      },
      ...options,
    });
    return this.#open.use(this.#server);
  }

  async node(name: string) {
    const folder = this.#folder(`node-${name}`);
    const identity = await nodeIdentity(this.env, folder, name);
    return { identity, peers: new PeerBook(this.env, folder) };
  }

  /** Pairs a node of this name, as an agent of the tenant. */
  async pair(name: string, tenant?: string, token = this.server.invite(tenant)): Promise<string> {
    const node = await this.node(name);
    await pairWith(this.env, { ...this.#link(), ...node }, token);
    return toHex(node.identity.fingerprint);
  }

  async connect(name: string): Promise<Agent> {
    const node = await this.node(name);
    return await connectProvider(this.env, { ...this.#link(), ...node, lane: 'control' });
  }

  /** The first event, of those to come or that came, that fits. */
  async event(fits: (event: ServerEvent) => boolean): Promise<ServerEvent> {
    for (;;) {
      const found = this.events.find(fits);
      if (found !== undefined) return found;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#listeners.add(resolve);
      await promise;
      this.#listeners.delete(resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#open.disposeAsync();
  }

  #folder(name: string): StateFolder {
    const directory = join(this.folder, name);
    return { directory, makeDirectory: () => this.env.files.makeDirectory(directory) };
  }

  #link() {
    const { address } = this.server;
    assert(address.kind === 'tcp');
    return { address, written: `127.0.0.1:${address.port}` };
  }

  async #tenant(name: string): Promise<TenantOptions> {
    const { env } = this;
    const place = this.#folder(`repository-${name}`);
    const replicas = this.#folder(`replicas-${name}`);
    const isNew = await env.files.stat(place.directory).then(
      () => false,
      () => true,
    );
    await place.makeDirectory();
    await replicas.makeDirectory();
    const objects = await directoryStore(env.files, place.directory, env.random);
    if (isNew) await Repository.init(env, objects, { chunkBytes: 64 * KIB });
    const repository = this.#open.use(await Repository.open(env, objects));
    const pool = this.#open.use(codecPool(env, 0));
    return { name, repository, pool, directory: replicas.directory };
  }
}

/** Makes the provider's replica equal to these bytes. */
export async function send(agent: Agent, name: string, bytes: Uint8Array) {
  const device = memory(name, bytes.byteLength);
  await device.write(bytes, 0, 0);
  const volume = await agent.open(name, bytes.byteLength);
  const changedBytes = bytes.byteLength;
  await volume.send({ device, changed: 'compare', changedBytes, wallMs: 0 });
  return volume;
}

/** Bytes that do not repeat, under a seed. */
export function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed * 2654435761 + 1;
  for (let at = 0; at < words.length; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer).subarray(0, length);
}
