/** A directory store with a defect on purpose: what the crash trials must be able to find. */
import assert from 'node:assert/strict';
import { type Env, hasCode, toHex, writeFully } from '../src/core/index.ts';
import { directoryStore, ObjectError, type ObjectStore } from '../src/objects/index.ts';

export const plantedDefects = [
  'none',
  'skips the sync of the file',
  'skips the sync of the directory',
  'skips the sync of a new directory in its parent',
  'links before the sync of the file',
  'acknowledges before the sync of the directory',
  'renames instead of linking',
  'writes under the final name',
  'tries a failed sync of the file again',
  'tries a failed sync of the directory again',
  'goes on after a failed sync of the directory',
  'says that a name is taken before it is durable',
] as const;

export type PlantedDefect = (typeof plantedDefects)[number];

const ROOT = '/store';

/** Reads like the real store; its put is a plain copy of the real routine, but for the defect. */
export async function plantedStore(env: Env, defect: PlantedDefect): Promise<ObjectStore> {
  const real = await directoryStore(env.files, ROOT, env.random);
  const trust = { lost: false };
  const putIfAbsent = (key: string, bytes: Uint8Array): Promise<void> =>
    put(env, { defect, trust, key }, bytes).catch((error: unknown) => {
      const code = hasCode(error, 'ENV_EXISTS') ? 'OBJECT_EXISTS' : 'OBJECT_IO';
      throw new ObjectError(code, `planted: ${key}`, { hint: 'Planted.', cause: error });
    });
  return {
    name: `planted:${defect}`,
    get: (key, bytesMax) => real.get(key, bytesMax),
    getRange: (key, target, offsetBytes) => real.getRange(key, target, offsetBytes),
    size: (key) => real.size(key),
    list: (prefix) => real.list(prefix),
    remove: (key) => real.remove(key),
    putIfAbsent,
    async create(key) {
      const parts: Uint8Array[] = [];
      return {
        append: async (bytes) => void parts.push(new Uint8Array(bytes)),
        commit: () => putIfAbsent(key, new Uint8Array(Buffer.concat(parts))),
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
    [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
  };
}

type Put = {
  readonly defect: PlantedDefect;
  readonly trust: { lost: boolean };
  readonly key: string;
};

async function put(
  { files, random }: Env,
  { defect, trust, key }: Put,
  bytes: Uint8Array,
): Promise<void> {
  const id = new Uint8Array(8);
  random.fill(id);
  const target = `${ROOT}/${key}`;
  const temporary = defect === 'writes under the final name' ? target : `${ROOT}/.${toHex(id)}`;
  const folder = target.slice(0, target.lastIndexOf('/'));
  const syncDirectory = async (path: string): Promise<void> => {
    const again = defect === 'tries a failed sync of the directory again';
    await files.syncDirectory(path).catch((error: unknown) => {
      if (again) return files.syncDirectory(path);
      trust.lost = defect !== 'goes on after a failed sync of the directory';
      throw error;
    });
    assert(!trust.lost, 'a directory could not be forced');
  };

  for (let at = 1; at !== 0; at = target.indexOf('/', at) + 1) {
    const path = target.slice(0, at - 1);
    if (path === '') continue;
    await files.makeDirectory(path);
    if (defect === 'skips the sync of a new directory in its parent') continue;
    await syncDirectory(path.slice(0, path.lastIndexOf('/')) || '/');
  }
  const file = await files.open(temporary, 'create');
  await writeFully(file, bytes, 0);
  if (defect === 'links before the sync of the file') await files.link(temporary, target);
  if (defect !== 'skips the sync of the file') {
    await file.sync().catch((error: unknown) => {
      if (defect !== 'tries a failed sync of the file again') throw error;
      return file.sync();
    });
  }
  await file.close();
  await publish();
  const acknowledges = defect === 'acknowledges before the sync of the directory';
  if (acknowledges) syncDirectory(folder).catch(() => undefined);
  else if (defect !== 'skips the sync of the directory') await syncDirectory(folder);

  async function publish(): Promise<void> {
    if (defect === 'writes under the final name') return;
    if (defect === 'renames instead of linking') return files.rename(temporary, target);
    if (defect !== 'links before the sync of the file') {
      await files.link(temporary, target).catch(async (error: unknown) => {
        const hasty = defect === 'says that a name is taken before it is durable';
        if (!hasty) await syncDirectory(folder);
        throw error;
      });
    }
    await files.remove(temporary);
  }
}
