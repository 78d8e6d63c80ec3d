/** An ext4 image that is asked what changed, and compared with what did. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeEnv } from '../../src/core/index.ts';
import { openFile } from '../../src/device/index.ts';
import type { Snapshot } from '../../src/store/index.ts';
import { ext4JournalSource, parseJournalMemory, SourceMemory } from '../../src/track/index.ts';
import { differences, Ext4Image } from './ext4.suite.ts';

const env = nodeEnv();

type Round = { readonly reason: string; readonly told: number; readonly changed: number };

/** A volume whose snapshots are copies of the image: what a source of changes needs, no more. */
export class Watched implements AsyncDisposable {
  readonly folder: string;
  readonly image: Ext4Image;
  #count = 0;
  #since: Snapshot | undefined;

  private constructor(folder: string, image: Ext4Image) {
    this.folder = folder;
    this.image = image;
  }

  static async make(options: Parameters<typeof Ext4Image.make>[1] = {}): Promise<Watched> {
    const folder = await mkdtemp(join(tmpdir(), 'ferry-ext4-'));
    return new Watched(folder, await Ext4Image.make(folder, options));
  }

  /** The image at the last snapshot, or so many before. */
  readonly copy = (back = 0): string => join(this.folder, `copy-${this.#count + back}`);

  /** What the source says now, tried against the bytes; then the present state is the snapshot. */
  async snapshot(): Promise<Round> {
    await using device = await openFile(env.files, this.image.path, { readOnly: true });
    const directory = join(this.folder, 'state');
    const makeDirectory = async () => void (await mkdir(directory, { recursive: true }));
    const memory = new SourceMemory(
      env,
      { directory, makeDirectory },
      'journal',
      parseJournalMemory,
    );
    await using opened = new AsyncDisposableStack();
    const open = async () => opened.use(await openFile(env.files, this.copy(), { readOnly: true }));
    const source = ext4JournalSource({ memory, open, isChosen: true });
    const since = this.#since;
    const answer = await source.changes({ volume: 'disk', device, since });
    const now = await readFile(this.image.path);
    let round: Round = {
      reason: answer.kind === 'cannot-say' ? answer.reason : '',
      told: 0,
      changed: 0,
    };
    if (answer.kind === 'changes') {
      const ranges = await Array.fromAsync(answer.changed);
      const before = await readFile(this.copy());
      const missed = differences(before, now).filter(
        (at) =>
          !ranges.some((one) => one.offsetBytes <= at && at < one.offsetBytes + one.lengthBytes),
      );
      assert.deepEqual(missed, [], 'changes that were not told');
      const told = ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
      round = { reason: 'told', told, changed: differences(before, now).length * 4096 };
    }
    this.#count++;
    await this.image.copyTo(this.copy());
    if (this.#count > 3) await rm(this.copy(-3));
    const id = String(this.#count).padStart(64, '0');
    this.#since = { id, digest: id, volume: 'disk', sizeBytes: device.sizeBytes } as Snapshot;
    await answer.finish?.({ kind: 'committed', snapshot: this.#since });
    return round;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.image[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true });
  }
}
