/** What stands behind the names of a simulated disk: directories, links, files, and their stat. */
import { EnvError, type EnvErrorCode, type FileStat } from '../src/core/index.ts';
import { DiskFile } from './disk-file.ts';
import { PAGE_BYTES } from './sector-image.ts';

export class DiskDirectory {
  readonly kind = 'directory';
  readonly inode: number;
  readonly entries = new Map<string, DiskNode>();
  readonly durable = new Map<string, DiskNode>();

  constructor(inode: number) {
    this.inode = inode;
  }
}

export class DiskSymlink {
  readonly kind = 'symlink';
  readonly inode: number;
  readonly target: string;

  constructor(inode: number, target: string) {
    this.inode = inode;
    this.target = target;
  }
}

export type DiskNode = DiskFile | DiskDirectory | DiskSymlink;

export function failure(code: EnvErrorCode, path: string): EnvError {
  return new EnvError(code, `simulated disk: ${code} at ${path}`, {
    hint: 'The simulated disk answers as the test asked it to.',
  });
}

export function statOf(node: DiskNode): FileStat {
  const isFile = node instanceof DiskFile;
  return {
    kind: kindOf(node),
    sizeBytes: isFile ? node.image.sizeBytes : 0,
    allocatedBytes: isFile ? node.image.pageCount * PAGE_BYTES : 0,
    modifiedMs: isFile ? node.modifiedMs : 0,
    changedMs: isFile ? node.modifiedMs : 0,
    device: 1,
    inode: node.inode,
  };
}

function kindOf(node: DiskNode): FileStat['kind'] {
  if (node instanceof DiskDirectory) return 'directory';
  return node instanceof DiskFile && node.kind === 'file' ? 'file' : 'other';
}

export function setName(
  names: Map<string, DiskNode>,
  name: string,
  node: DiskNode | undefined,
): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}

/** Whether `wanted` is `directory` or lies below it. */
export function contains(directory: DiskDirectory, wanted: DiskDirectory): boolean {
  if (directory === wanted) return true;
  for (const child of directory.entries.values()) {
    if (child instanceof DiskDirectory && contains(child, wanted)) return true;
  }
  return false;
}

/** As often as they have names. */
export function* filesIn(node: DiskNode | undefined): Generator<DiskFile> {
  if (node instanceof DiskFile) yield node;
  else if (node instanceof DiskDirectory) {
    for (const child of node.entries.values()) yield* filesIn(child);
  }
}
