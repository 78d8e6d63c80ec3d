/** What the tests of this folder share: a scratch directory, and files of which some calls fail. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { EnvError, type Files, nodeEnv, type OpenFile } from '../core/index.ts';

export const { files } = nodeEnv();

/** A directory that goes away after the tests of the calling file; answers with paths inside. */
export function scratch(): (name: string) => string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ferry-device-'));
  after(() => fs.rmSync(directory, { recursive: true }));
  return (name) => path.join(directory, name);
}

/** Called before each call; throwing makes that call fail. */
export type Fault = (call: string, path: string) => void;

/** The real files, of which every call that can fail is announced to `fault` first. */
export function faulty(base: Files, fault: Fault): Files {
  const guarded =
    <A extends unknown[], T>(call: string, run: (path: string, ...rest: A) => Promise<T>) =>
    async (path: string, ...rest: A): Promise<T> => {
      fault(call, path);
      return run(path, ...rest);
    };
  return {
    open: guarded('open', async (at, mode) => faultyFile(await base.open(at, mode), fault)),
    stat: guarded('stat', base.stat),
    statEntry: guarded('statEntry', base.statEntry),
    list: guarded('list', base.list),
    makeDirectory: guarded('makeDirectory', base.makeDirectory),
    link: guarded('link', base.link),
    rename: guarded('rename', base.rename),
    remove: guarded('remove', base.remove),
    removeDirectory: guarded('removeDirectory', base.removeDirectory),
    syncDirectory: guarded('syncDirectory', base.syncDirectory),
    lock: base.lock,
  };
}

function faultyFile(base: OpenFile, fault: Fault): OpenFile {
  const transfer =
    (call: 'read' | 'write'): OpenFile['read'] =>
    (bytes, offsetBytes, done) => {
      try {
        fault(call, base.path);
      } catch (error) {
        setImmediate(done, error as EnvError, 0);
        return;
      }
      base[call](bytes, offsetBytes, done);
    };
  return {
    path: base.path,
    read: transfer('read'),
    write: transfer('write'),
    stat: async () => {
      fault('fstat', base.path);
      return base.stat();
    },
    sync: async () => {
      fault('sync', base.path);
      return base.sync();
    },
    truncate: async (sizeBytes) => {
      fault('truncate', base.path);
      return base.truncate(sizeBytes);
    },
    punchHole: (offsetBytes, lengthBytes) => {
      fault('punchHole', base.path);
      return base.punchHole(offsetBytes, lengthBytes);
    },
    nextData: (offsetBytes) => {
      fault('nextData', base.path);
      return base.nextData(offsetBytes);
    },
    close: () => base.close(),
  };
}

/** Fails the `nth` of the `calls` (of all if none are named), and with `stays` every later one. */
export function failNth(
  nth: number,
  { code = 'ENV_IO', calls = [], stays = false }: FailNthOptions = {},
): Fault & { readonly count: () => number } {
  let count = 0;
  const fault: Fault = (call, at) => {
    if (calls.length > 0 && !calls.includes(call)) return;
    count++;
    if (count !== nth && !(stays && count > nth)) return;
    throw new EnvError(code, `cannot ${call} ${at}: on purpose`, { hint: 'None.' });
  };
  return Object.assign(fault, { count: () => count });
}

export type FailNthOptions = {
  readonly code?: EnvError['code'];
  readonly calls?: readonly string[];
  readonly stays?: boolean;
};

/** The files of a medium that knows no holes: it cannot punch, and calls everything data. */
export function withoutHoles(base: Files): Files {
  return {
    ...base,
    open: async (at, mode) => {
      const file = await base.open(at, mode);
      return {
        path: file.path,
        stat: () => file.stat(),
        read: (target, offsetBytes, done) => file.read(target, offsetBytes, done),
        write: (source, offsetBytes, done) => file.write(source, offsetBytes, done),
        sync: () => file.sync(),
        truncate: (sizeBytes) => file.truncate(sizeBytes),
        punchHole: () => false,
        nextData: (offsetBytes) => {
          const { size } = fs.statSync(at);
          if (offsetBytes >= size) return undefined;
          return { offsetBytes, lengthBytes: size - offsetBytes };
        },
        close: () => file.close(),
      };
    },
  };
}
