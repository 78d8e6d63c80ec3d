/** Which sources of changes were found to have lied about a volume: durable until proven honest. */
import {
  type Env,
  FormatError,
  readStateFile,
  replaceStateFile,
  type StateFolder,
  withStateLock,
} from '../core/index.ts';
import { CHANGE_SOURCES, type ChangeSourceName } from './change-source.ts';
import { TrackError } from './errors.ts';

/** A list of at most a handful of sentences. */
const FILE_BYTES_MAX = 64 * 1024;

type Doubts = { [Name in ChangeSourceName]?: string };

export class Trust {
  readonly #env: Env;
  readonly #folder: StateFolder;
  readonly #path: string;
  readonly #volume: string;
  #doubts: Doubts;

  private constructor(env: Env, folder: StateFolder, volume: string, doubts: Doubts) {
    this.#env = env;
    this.#folder = folder;
    this.#volume = volume;
    this.#path = pathOf(folder, volume);
    this.#doubts = doubts;
  }

  /** TRACK_STATE if what is there cannot be read: then nobody knows whom to believe. */
  static async open(env: Env, folder: StateFolder, volume: string): Promise<Trust> {
    return new Trust(env, folder, volume, await read(env, pathOf(folder, volume)));
  }

  /** Why a source is not believed; undefined if it is. */
  doubt(source: ChangeSourceName): string | undefined {
    return this.#doubts[source];
  }

  distrust(source: ChangeSourceName, why: string): Promise<void> {
    return this.#change((doubts) => ({ ...doubts, [source]: why }));
  }

  restore(source: ChangeSourceName): Promise<void> {
    return this.#change(({ [source]: _, ...doubts }) => doubts);
  }

  async #change(next: (doubts: Doubts) => Doubts): Promise<void> {
    await withStateLock(this.#env, this.#folder, async () => {
      // Another process may have written since.
      this.#doubts = next(await read(this.#env, this.#path));
      const value = { volume: this.#volume, doubts: this.#doubts };
      const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
      await replaceStateFile(this.#env, this.#path, bytes);
    });
  }
}

function pathOf({ directory }: StateFolder, volume: string): string {
  return `${directory}/${volume}.json`;
}

async function read(env: Env, path: string): Promise<Doubts> {
  const bytes = await readStateFile(env, path, FILE_BYTES_MAX);
  if (bytes === undefined) return {};
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes)) as { doubts?: unknown };
    if (typeof value?.doubts !== 'object' || value.doubts === null) throw new FormatError('none');
    const doubts: Doubts = {};
    for (const [name, why] of Object.entries(value.doubts)) {
      const known = CHANGE_SOURCES.find((source) => source === name);
      if (known === undefined || typeof why !== 'string') throw new FormatError(`of ${name}`);
      doubts[known] = why;
    }
    return doubts;
  } catch (cause) {
    throw new TrackError('TRACK_STATE', `${path} is damaged: it is not known whom to believe`, {
      hint: 'Run with --changes checksum; if that finds nothing untold, remove the file.',
      cause,
    });
  }
}
