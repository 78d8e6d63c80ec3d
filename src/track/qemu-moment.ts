/**
 * One moment of a disk of a running QEMU: what the guest overwrites meanwhile is kept aside in a
 * file, and its dirty bitmaps stand still. See docs/internals/tracking.md.
 */
import { type Env, type FileLock, hasCode, toHex, writeFully } from '../core/index.ts';
import type { NbdDevice } from '../nbd/index.ts';
import { emptyQcow2 } from './empty-qcow2.ts';
import { TrackError } from './errors.ts';
import { bitmapContext } from './nbd-bitmap.ts';
import { Qmp } from './qmp.ts';

/** Ours are `ferry-` and 16 digits; those of other programs are not touched. */
const BITMAP_NAME = /^ferry-[0-9a-f]{16}$/;
const JOB_TRIES_MAX = 600;
const JOB_WAIT_MS = 20;

export type MomentOptions = {
  readonly socket: string;
  readonly node: string;
  /** An existing folder for the lock, the file of what is overwritten, and the NBD socket. */
  readonly directory: string;
};

type QemuBitmap = {
  readonly name: string;
  readonly recording: boolean;
  readonly inconsistent?: boolean;
};

/** A bitmap of an earlier run, as it stood at the moment. */
export type FrozenBitmap = { readonly name: string; readonly isConsistent: boolean };

export class QemuMoment implements AsyncDisposable {
  readonly device: NbdDevice;
  /** Records what is written from the moment on. */
  readonly bitmap: string;
  readonly frozen: readonly FrozenBitmap[];
  readonly #stage: Stage;

  constructor(stage: Stage, device: NbdDevice, bitmap: string, frozen: readonly FrozenBitmap[]) {
    this.#stage = stage;
    this.device = device;
    this.bitmap = bitmap;
    this.frozen = frozen;
  }

  /**
   * The moment was kept: its bitmap goes on, the one named is needed no more. Ends the device.
   */
  async commit(replaced: string | undefined): Promise<void> {
    await this.device[Symbol.asyncDispose]();
    await this.#stage.settle({ isKept: true, replaced });
  }

  /** Without a commit everything is as if it had not been. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.device[Symbol.asyncDispose]();
    await this.#stage.close();
  }
}

/** TRACK_BUSY if another backup of this disk runs; TRACK_QMP and NBD_*. */
export async function openQemuMoment(env: Env, options: MomentOptions): Promise<QemuMoment> {
  const lock = await env.files.lock(`${options.directory}/lock`);
  if (lock === undefined) {
    throw new TrackError('TRACK_BUSY', `${options.node} is being backed up by another process`, {
      hint: 'Wait until it has ended.',
    });
  }
  let stage: Stage | undefined;
  try {
    stage = new Stage(env, options, await Qmp.connect(env, options.socket), lock);
    await stage.clear();
    return await stage.begin();
  } catch (error) {
    if (stage === undefined) await lock.release();
    else await stage.close().catch(() => undefined); // The first error counts.
    throw error;
  }
}

const nonceBytes = 8;

/** What is set up in QEMU, in order; all names are fixed but that of the bitmap. */
class Stage {
  readonly #env: Env;
  readonly #qmp: Qmp;
  readonly #lock: FileLock;
  readonly #node: string;
  readonly #asideFile: string;
  readonly #nbdSocket: string;
  readonly #names: { file: string; aside: string; job: string; export: string };
  #frozen: readonly FrozenBitmap[] = [];
  #bitmap: string | undefined;
  #closed = false;

  constructor(env: Env, { node, directory }: MomentOptions, qmp: Qmp, lock: FileLock) {
    this.#env = env;
    this.#qmp = qmp;
    this.#lock = lock;
    this.#node = node;
    this.#asideFile = `${directory}/aside.qcow2`;
    this.#nbdSocket = `${directory}/nbd.sock`;
    // Node names have at most 31 characters.
    const short = node.slice(0, 12);
    this.#names = {
      file: `ferry-file-${short}`,
      aside: `ferry-aside-${short}`,
      job: `ferry-job-${short}`,
      export: `ferry-export-${short}`,
    };
  }

  async begin(): Promise<QemuMoment> {
    const { sizeBytes, bitmaps, driver } = await this.#look();
    const frozen = bitmaps.map(({ name, inconsistent }) => ({
      name,
      isConsistent: inconsistent !== true,
    }));
    await this.#makeAside(sizeBytes);
    const nonce = new Uint8Array(nonceBytes);
    this.#env.random.fill(nonce);
    const bitmap = `ferry-${toHex(nonce)}`;
    const usable = frozen.filter(({ isConsistent }) => isConsistent);
    const node = this.#node;
    await this.#transaction([
      {
        type: 'block-dirty-bitmap-add',
        // In a qcow2 image the bitmap survives QEMU's end; elsewhere it does not.
        data: { node, name: bitmap, persistent: driver === 'qcow2', granularity: 65_536 },
      },
      ...usable.map(({ name }) => ({ type: 'block-dirty-bitmap-disable', data: { node, name } })),
      {
        type: 'blockdev-backup',
        data: { 'job-id': this.#names.job, device: node, target: this.#names.aside, sync: 'none' },
      },
    ]);
    this.#bitmap = bitmap;
    this.#frozen = usable;
    await this.#export(usable);
    const uri = `nbd+unix:///moment?socket=${encodeURIComponent(this.#nbdSocket)}`;
    const contexts = usable.map(({ name }) => bitmapContext(name));
    const { connect } = await import('../nbd/index.ts');
    const device = await connect(this.#env, uri, { connections: 2, readOnly: true, contexts });
    return new QemuMoment(this, device, bitmap, frozen);
  }

  /** The frozen bitmaps record again, and have what was written meanwhile; but for `replaced`. */
  async settle({ isKept, replaced }: { isKept: boolean; replaced: string | undefined }) {
    const bitmap = this.#bitmap;
    if (bitmap === undefined) return;
    this.#bitmap = undefined;
    const node = this.#node;
    // While they are exported, bitmaps cannot be changed.
    await this.#try('block-export-del', { id: this.#names.export, mode: 'hard' });
    await this.#awaitNo('query-block-exports', 'id', this.#names.export);
    const kept = this.#frozen.filter(({ name }) => !isKept || name !== replaced);
    await this.#transaction(
      kept.flatMap(({ name }) => [
        { type: 'block-dirty-bitmap-enable', data: { node, name } },
        { type: 'block-dirty-bitmap-merge', data: { node, target: name, bitmaps: [bitmap] } },
      ]),
    );
    const gone = isKept ? replaced : bitmap;
    if (gone !== undefined)
      await this.#qmp.execute('block-dirty-bitmap-remove', { node, name: gone });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.settle({ isKept: false, replaced: undefined });
    } finally {
      try {
        await this.#takeDown();
      } finally {
        await this.#qmp[Symbol.asyncDispose]();
        await this.#lock.release();
      }
    }
  }

  /** What a run that died left: we have the lock, so nobody uses it. */
  async clear(): Promise<void> {
    await this.#takeDown();
    const { bitmaps } = await this.#look();
    const sound = bitmaps.filter(({ inconsistent }) => inconsistent !== true);
    const stopped = sound.filter(({ recording }) => !recording);
    const going = sound.filter(({ recording }) => recording).map(({ name }) => name);
    if (stopped.length === 0) return;
    // One of those that record was made when these were stopped; all of them are not too much.
    const node = this.#node;
    await this.#transaction(
      stopped.flatMap(({ name }) => [
        { type: 'block-dirty-bitmap-enable', data: { node, name } },
        { type: 'block-dirty-bitmap-merge', data: { node, target: name, bitmaps: going } },
      ]),
    );
    if (going.length > 0) return;
    throw new TrackError('TRACK_QMP', `bitmaps of ${node} were stopped by somebody else`, {
      hint: `Remove them, or start them: ${stopped.map(({ name }) => name).join(', ')}`,
    });
  }

  async #look(): Promise<{ sizeBytes: number; bitmaps: readonly QemuBitmap[]; driver: string }> {
    const nodes = (await this.#qmp.execute('query-named-block-nodes', { flat: true })) as {
      readonly 'node-name': string;
      readonly drv: string;
      readonly image: { readonly 'virtual-size': number };
      readonly 'dirty-bitmaps'?: readonly QemuBitmap[];
    }[];
    const found = nodes.find((each) => each['node-name'] === this.#node);
    if (found === undefined) {
      const names = nodes.map((each) => each['node-name']).join(', ');
      throw new TrackError('TRACK_QMP', `QEMU has no block node ${this.#node}`, {
        hint: `It has: ${names}.`,
      });
    }
    const all = found['dirty-bitmaps'] ?? [];
    const bitmaps = all.filter(({ name }) => BITMAP_NAME.test(name));
    return { sizeBytes: found.image['virtual-size'], bitmaps, driver: found.drv };
  }

  async #makeAside(sizeBytes: number): Promise<void> {
    const { file, aside } = this.#names;
    const filename = this.#asideFile;
    const made = await this.#env.files.open(filename, 'create');
    try {
      await writeFully(made, emptyQcow2(sizeBytes), 0);
    } finally {
      await made.close();
    }
    await this.#qmp.execute('blockdev-add', { driver: 'file', 'node-name': file, filename });
    await this.#qmp.execute('blockdev-add', {
      ...{ driver: 'qcow2', 'node-name': aside, file, backing: this.#node },
    });
  }

  async #export(bitmaps: readonly FrozenBitmap[]): Promise<void> {
    const address = { type: 'unix', data: { path: this.#nbdSocket } };
    await this.#qmp.execute('nbd-server-start', { addr: address });
    await this.#qmp.execute('block-export-add', {
      ...{ type: 'nbd', id: this.#names.export, 'node-name': this.#names.aside, name: 'moment' },
      writable: false,
      bitmaps: bitmaps.map(({ name }) => name),
    });
  }

  /** In the reverse order; what is not there is no failure. */
  async #takeDown(): Promise<void> {
    const { file, aside, job, export: exported } = this.#names;
    const hadExport = await this.#try('block-export-del', { id: exported, mode: 'hard' });
    await this.#awaitNo('query-block-exports', 'id', exported);
    // QEMU has one server for all: it is stopped only if nobody else exports through it.
    const exports = (await this.#qmp.execute('query-block-exports')) as unknown[];
    const isOurs = hadExport || (await this.#exists(this.#nbdSocket));
    if (isOurs && exports.length === 0) await this.#try('nbd-server-stop', {});
    await this.#try('job-cancel', { id: job });
    await this.#awaitNo('query-jobs', 'id', job);
    await this.#try('blockdev-del', { 'node-name': aside });
    await this.#try('blockdev-del', { 'node-name': file });
    for (const path of [this.#asideFile, this.#nbdSocket]) {
      if (await this.#exists(path)) await this.#env.files.remove(path);
    }
  }

  async #exists(path: string): Promise<boolean> {
    try {
      await this.#env.files.statEntry(path);
      return true;
    } catch (error) {
      if (hasCode(error, 'ENV_NOT_FOUND')) return false;
      throw error;
    }
  }

  async #awaitNo(query: string, key: string, name: string): Promise<void> {
    for (let tries = 0; tries < JOB_TRIES_MAX; tries++) {
      const rows = (await this.#qmp.execute(query)) as Record<string, unknown>[];
      const row = rows.find((each) => each[key] === name);
      if (row === undefined) return;
      if (row.status === 'concluded') await this.#try('job-dismiss', { id: name });
      else await this.#wait();
    }
    throw new TrackError('TRACK_QMP', `QEMU does not end ${name}`, {
      hint: `Look at ${query} in its monitor.`,
    });
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#env.clock.after(JOB_WAIT_MS, resolve, { keepsProcess: true });
    });
  }

  /** False if QEMU refused, which it does for what is not there. */
  async #try(command: string, values: Readonly<Record<string, unknown>>): Promise<boolean> {
    try {
      await this.#qmp.execute(command, values);
      return true;
    } catch (error) {
      if (hasCode(error, 'TRACK_QMP')) return false;
      throw error;
    }
  }

  async #transaction(actions: readonly unknown[]): Promise<void> {
    if (actions.length > 0) await this.#qmp.execute('transaction', { actions });
  }
}
