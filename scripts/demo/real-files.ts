/** Copies a bounded selection of this machine's real files into a folder. */
import { copyFileSync, type Dirent, mkdirSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What most machines have; the packages of this clone fill up where that is too little. */
const sources = [
  '/usr/bin',
  '/usr/share',
  '/usr/lib',
  '/usr/sbin',
  '/opt',
  fileURLToPath(new URL('../../node_modules', import.meta.url)),
];

/** No source fills the image alone, and no single file a source. */
const SHARE_MAX = 0.4;
/** Thousands of tiny files would only make the demo slower. */
const FILE_BYTES_MIN = 4096;
const FILE_BYTES_MAX = 32 * 1024 * 1024;
const FILES_MAX = 20_000;

export type Selection = { readonly files: readonly string[]; readonly bytes: number };

/** Paths are those on the machine, without the leading slash. */
export function copyRealFiles(target: string, bytesWanted: number): Selection {
  const files: string[] = [];
  let bytes = 0;
  for (const [turn, share] of [SHARE_MAX, 1].entries()) {
    for (const source of sources) {
      const limit = Math.min(bytesWanted, bytes + bytesWanted * share);
      // What the first turn took is not taken again.
      for (const path of regularFiles(source, turn === 0 ? new Set() : new Set(files))) {
        if (bytes >= limit || files.length >= FILES_MAX) break;
        const copied = copyFile(path, join(target, path));
        if (copied === undefined) continue;
        bytes += copied;
        files.push(path.slice(1));
      }
    }
  }
  return { files, bytes };
}

function* regularFiles(folder: string, without: ReadonlySet<string>): Generator<string> {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* regularFiles(path, without);
    else if (entry.isFile() && !without.has(path.slice(1))) yield path;
  }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // Not there, or not ours to read.
  }
}

/** The file's size, or undefined if it is not taken or cannot be read. */
function copyFile(from: string, to: string): number | undefined {
  try {
    const { size } = statSync(from);
    if (size < FILE_BYTES_MIN || size > FILE_BYTES_MAX) return undefined;
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(from, to);
    return size;
  } catch {
    return undefined;
  }
}
