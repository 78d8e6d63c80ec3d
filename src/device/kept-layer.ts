/** A copy-on-write device whose layer outlives the process: in a directory of its own. */
import { type FileLock, type Files, hasCode } from '../core/index.ts';
import { BlockMap, parentOf } from './block-map.ts';
import { type CopyOnWrite, copyOnWrite } from './copy-on-write.ts';
import { type Device, DeviceError } from './device.ts';
import { toDeviceError } from './device-error.ts';
import { openFile, openTarget } from './file.ts';
import { FlushGroup } from './flush-group.ts';

export type KeptLayerOptions = {
  readonly base: Device;
  /** Names what the base is, for example a snapshot's id: the layer fits no other. */
  readonly identity: string;
  /**
   * Made if absent; holds `layer.raw` (sparse) and `changed.map`, and `discarding` while these two
   * are being made or removed: whoever finds that one removes them before all else. The lock is the
   * file of the same name with `.lock`, beside it; it stays.
   */
  readonly directory: string;
};

export type KeptLayer = {
  readonly device: CopyOnWrite;
  /** The layer was there already and has been taken up. */
  readonly continued: boolean;
  /** Removes all that was written and closes the layer; a later opening starts a new one. */
  discard(): Promise<void>;
} & AsyncDisposable;

/**
 * Opens the layer in `directory`, or starts one. After a kill or a power cut every flushed write is
 * there again; others are there or not, block by block. DEVICE_LAYER if it belongs to another base
 * or is damaged, DEVICE_ACCESS while another process has it. Borrows the base; disposing closes
 * the layer without flushing it.
 */
export async function openKeptLayer(files: Files, options: KeptLayerOptions): Promise<KeptLayer> {
  const directory = options.directory.replace(/(?<=.)\/+$/, '');
  try {
    // Beside the directory, which a discard removes, and never removed: who holds the lock on a
    // file that has lost its name keeps nobody out.
    const lock = await files.lock(`${directory}.lock`);
    if (lock === undefined) throw inUse(directory);
    return await openLocked(files, { ...options, directory }, lock);
  } catch (error) {
    throw toDeviceError(error, directory);
  }
}

async function openLocked(
  files: Files,
  { base, identity, directory }: KeptLayerOptions,
  lock: FileLock,
): Promise<KeptLayer> {
  await using opened = new AsyncDisposableStack();
  opened.defer(() => lock.release());
  await files.makeDirectory(directory);
  const layerPath = `${directory}/layer.raw`;
  const header = { path: `${directory}/changed.map`, identity, sizeBytes: base.sizeBytes };
  if (await exists(files, markerOf(directory))) await removeLayer(files, directory);
  const continued = await exists(files, header.path);
  if (!continued) {
    if (await exists(files, layerPath)) throw mapIsMissing(header.path, layerPath);
    await putMarker(files, directory);
    await startLayer(files, layerPath, base.sizeBytes);
    await BlockMap.create(files, header);
    await files.syncDirectory(directory);
    await files.remove(markerOf(directory));
  }
  // Not only after making them: a process that was killed may have left the names undurable.
  await files.syncDirectory(directory);
  await files.syncDirectory(parentOf(directory));
  const map = await BlockMap.open(files, header);
  opened.defer(() => map.close());
  const layer = opened.use(await openFile(files, layerPath, { readOnly: false }));
  const flushes = new FlushGroup(`copy-on-write(${base.name})`, () =>
    map.flush(async () => layer.flush()),
  );
  const { bitmap } = map;
  const marked = (block: number, count: number): void => map.marked(block, count);
  const flush = (): Promise<void> => flushes.flush();
  const device = copyOnWrite({ base, layer, changed: { bitmap, marked, flush } });
  const owned = opened.move();
  return {
    device,
    continued,
    async discard() {
      await putMarker(files, directory);
      await removeLayer(files, directory);
      await removeIfEmpty(files, directory);
      await owned.disposeAsync();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function markerOf(directory: string): string {
  return `${directory}/discarding`;
}

/** From here on what the directory holds counts as no layer, also after a power cut. */
async function putMarker(files: Files, directory: string): Promise<void> {
  const marker = await files.open(markerOf(directory), 'write');
  await marker.close();
  await files.syncDirectory(directory);
}

/** The marker last, when it is durable that there is nothing left for it to mark. */
async function removeLayer(files: Files, directory: string): Promise<void> {
  for (const name of ['changed.map', 'changed.map.new', 'layer.raw']) {
    await removeIfThere(files, `${directory}/${name}`);
  }
  await files.syncDirectory(directory);
  await files.remove(markerOf(directory));
}

async function removeIfThere(files: Files, path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (!hasCode(error, 'ENV_NOT_FOUND')) throw error;
  }
}

async function removeIfEmpty(files: Files, directory: string): Promise<void> {
  try {
    await files.removeDirectory(directory);
  } catch (error) {
    if (!hasCode(error, 'ENV_EXISTS') && !hasCode(error, 'ENV_NOT_FOUND')) throw error;
  }
}

async function startLayer(files: Files, path: string, sizeBytes: number): Promise<void> {
  const { device } = await openTarget(files, path, sizeBytes);
  await using layer = device;
  await layer.flush();
}

function mapIsMissing(mapPath: string, layerPath: string): DeviceError {
  return new DeviceError('DEVICE_LAYER', `${mapPath} is missing, but ${layerPath} is there`, {
    hint:
      'Nothing tells which parts of the layer were written; ' +
      'put back the map, or remove the directory to drop what was written.',
  });
}

async function exists(files: Files, path: string): Promise<boolean> {
  try {
    await files.stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND')) return false;
    throw error;
  }
}

function inUse(directory: string): DeviceError {
  return new DeviceError('DEVICE_ACCESS', `the layer in ${directory} is in use`, {
    hint: 'Another process has mounted it; stop that one first.',
  });
}
