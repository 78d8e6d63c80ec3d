/** A device as a file of this host, through FUSE: for kernels without NBD, and for plain users. */
import { type Env, EnvError, type FuseMount, hasCode, type Kernel } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import { FuseSession } from './fuse-session.ts';
import { FuseTree } from './fuse-tree.ts';

export type AttachFileOptions = {
  /** The file's name if `path` is a directory. */
  readonly fileName: string;
  readonly readOnly: boolean;
  /** Users beside the one who mounts may use it. */
  readonly allowOther: boolean;
  /** Something is wrong that no user of the file hears of. */
  onTrouble(error: unknown): void;
};

/** Disposing it takes the file away, even from those who use it. */
export interface AttachedFile extends AsyncDisposable {
  readonly path: string;
  /** Resolves when the file is gone, whoever took it away, and the device is at rest. */
  readonly ended: Promise<void>;
  readonly requestCount: number;
  /**
   * Takes it away. `gone`: done, `ended` follows. `busy`: nobody new finds it, those who have it
   * open keep it, and `ended` follows when the last has closed it.
   */
  detach(): Promise<'gone' | 'busy'>;
}

/**
 * `path` is an existing file or directory, which the mount hides, or a new file, which goes away
 * with it. The device stays the caller's, to be disposed after `ended`.
 */
export async function attachFile(
  env: Env,
  kernel: Kernel,
  device: Device,
  path: string,
  options: AttachFileOptions,
): Promise<AttachedFile> {
  const { allowOther, fileName } = options;
  const readOnly = options.readOnly || device.readOnly;
  checkName(fileName);
  const isMade = await makeIfMissing(env, path);
  const remove = () => (isMade ? env.files.remove(path) : Promise.resolve());
  let mount: FuseMount;
  try {
    mount = await kernel.mountFuse(path, { source: device.name, readOnly, allowOther });
  } catch (error) {
    await remove();
    throw error;
  }
  const tree = new FuseTree({
    fileName: mount.isDirectory ? fileName : undefined,
    sizeBytes: device.sizeBytes,
    readOnly,
    forOthers: allowOther,
    modifiedMs: env.clock.wallMs(),
    ...kernel.owner(),
  });
  const session = new FuseSession({ mount, device, tree, onTrouble: options.onTrouble });
  const ended = session.ended.then(remove);
  ended.catch(options.onTrouble); // Nobody may be waiting.
  return {
    path: mount.isDirectory ? `${path}/${fileName}` : path,
    ended,
    get requestCount() {
      return session.requestCount;
    },
    async detach() {
      if (await mount.unmount('clean')) return 'gone';
      await mount.unmount('lazy');
      return 'busy';
    },
    async [Symbol.asyncDispose]() {
      await mount.unmount('forced');
      await ended;
    },
  };
}

async function makeIfMissing({ files }: Env, path: string): Promise<boolean> {
  try {
    await (await files.open(path, 'create')).close();
    return true;
  } catch (error) {
    if (hasCode(error, 'ENV_EXISTS')) return false;
    throw error;
  }
}

function checkName(name: string): void {
  const isName = !/[/\0]/.test(name) && !['', '.', '..'].includes(name);
  if (isName && Buffer.byteLength(name) <= 255) return;
  throw new EnvError('ENV_INVALID', `"${name}" cannot be the name of a file`, {
    hint: 'Take a short one without a slash.',
  });
}
