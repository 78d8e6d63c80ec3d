/** Ranges of a file, read into shared memory on a thread that has nothing better to do. */
import { type Env, nodeEnv, type OpenFile, readFully, readNow } from '../core/index.ts';
import { CodecError } from './errors.ts';

/** A file or a block device, and which one it is. */
export type FileName = {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
};

export type ReadJob = {
  readonly kind: 'read';
  readonly file: FileName;
  readonly memory: SharedArrayBuffer;
  /** In threes: where in the file, how much, and where in the memory. */
  readonly ranges: Float64Array;
};

/** Files of which a thread reads; all volumes of a group may have one thread. */
const FILES_MAX = 64;

export class RangeReader {
  readonly #env: Pick<Env, 'files'>;
  readonly #files = new Map<string, Promise<OpenFile>>();

  constructor(env: Pick<Env, 'files'> = nodeEnv()) {
    this.#env = env;
  }

  async read({ file: name, memory, ranges }: ReadJob): Promise<undefined> {
    const file = await this.#open(name);
    for (let at = 0; at < ranges.length; at += 3) {
      const offsetBytes = ranges[at]!;
      const target = new Uint8Array(memory, ranges[at + 2]!, ranges[at + 1]!);
      if (readNow(file, target, offsetBytes)) continue;
      const count = await readFully(file, target, offsetBytes);
      if (count < target.byteLength) throw notThere(name, `ends at ${offsetBytes + count}`);
    }
    return undefined;
  }

  #open(name: FileName): Promise<OpenFile> {
    const key = `${name.device}:${name.inode}:${name.path}`;
    const known = this.#files.get(key);
    if (known !== undefined) return known;
    if (this.#files.size >= FILES_MAX) throw notThere(name, `is one of more than ${FILES_MAX}`);
    const opened = this.#openNew(name);
    this.#files.set(key, opened);
    opened.catch(() => this.#files.delete(key));
    return opened;
  }

  async #openNew(name: FileName): Promise<OpenFile> {
    const file = await this.#env.files.open(name.path, 'read');
    const { device, inode } = await file.stat();
    if (device === name.device && inode === name.inode) return file;
    await file.close();
    throw notThere(name, 'is another file by now');
  }
}

function notThere({ path }: FileName, what: string): CodecError {
  return new CodecError('CODEC_WORKER', `${path} ${what}`, {
    hint: 'Something replaced or resized it while it was in use.',
  });
}
