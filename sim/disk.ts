/**
 * A disk in memory that can lose power: a tree of names over files, each with a durable side.
 * Operations here take effect at once; disk-calls.ts gives them virtual time, answers and faults.
 */
import assert from 'node:assert/strict';
import type { FileStat } from '../src/core/index.ts';
import { DiskFile } from './disk-file.ts';
import {
  contains,
  DiskDirectory,
  type DiskNode,
  DiskSymlink,
  failure,
  filesIn,
  setName,
  statOf,
} from './disk-nodes.ts';
import { Draws } from './draws.ts';
import { type Fault, FaultPlan, type PlantedFault } from './fault-plan.ts';
import { PAGE_BYTES } from './sector-image.ts';

/** One change of names; a rename has two parts that survive together or not at all. */
type NameChange = readonly { directory: DiskDirectory; name: string; node: DiskNode | undefined }[];
type NumberedChange = { readonly number: number; readonly parts: NameChange };

type Place = { readonly directory: DiskDirectory; readonly name: string };

/** As on Linux. */
const SYMLINKS_MAX = 40;
const NAME_BYTES_MAX = 255;

const nameSurvivals = ['nothing', 'everything', 'a-prefix', 'any-subset'] as const;

export type DiskOptions = {
  /** What fits on the disk, counted in pages of 4 KiB of content. */
  readonly capacityBytes?: number;
};

export class SimulatedDisk {
  readonly faults: FaultPlan = new FaultPlan();
  /** Raised or lowered at will; lowering below what is used makes every new page fail. */
  capacityBytes: number;
  readonly #locks = new Map<DiskFile, object>();
  #root: DiskDirectory;
  #unforced: NumberedChange[] = [];
  #changeCount = 0;
  #inodes = 1;
  #usedPages = 0;

  constructor({ capacityBytes = Number.POSITIVE_INFINITY }: DiskOptions = {}) {
    this.capacityBytes = capacityBytes;
    this.#root = new DiskDirectory(this.#inodes++);
  }

  get usedBytes(): number {
    return this.#usedPages * PAGE_BYTES;
  }

  /** Makes a call of the future fail; see fault-plan.ts. */
  inject(fault: Fault): PlantedFault {
    return this.faults.inject(fault);
  }

  // The calls of Files.

  open(path: string, mode: 'read' | 'update' | 'write' | 'create', nowMs: number): DiskFile {
    const place = this.#place(path, mode !== 'create');
    const found = place.directory.entries.get(place.name);
    if (found === undefined && (mode === 'write' || mode === 'create')) {
      this.#checkSpaceForName(path);
      const file = new DiskFile(this.#inodes++);
      file.modifiedMs = nowMs;
      this.#rename([{ ...place, node: file }]);
      file.references++;
      return file;
    }
    if (found === undefined) throw failure('ENV_NOT_FOUND', path);
    if (mode === 'create') throw failure('ENV_EXISTS', path);
    if (found instanceof DiskDirectory) throw failure('ENV_IS_A_DIRECTORY', path);
    if (!(found instanceof DiskFile) || found.kind !== 'file') throw failure('ENV_INVALID', path);
    found.references++;
    return found;
  }

  /** The end of an open handle. */
  release(file: DiskFile): void {
    this.#drop(file);
  }

  stat(path: string, follow: boolean): FileStat {
    return statOf(this.#node(path, follow));
  }

  list(path: string): string[] {
    return [...this.#directory(path).entries.keys()].sort();
  }

  makeDirectory(path: string): void {
    const place = this.#place(path, true);
    const found = place.directory.entries.get(place.name);
    if (found instanceof DiskDirectory) return;
    if (found !== undefined) throw failure('ENV_NOT_A_DIRECTORY', path);
    this.#checkSpaceForName(path);
    this.#rename([{ ...place, node: new DiskDirectory(this.#inodes++) }]);
  }

  link(from: string, to: string): void {
    const node = this.#node(from, false);
    if (!(node instanceof DiskFile)) throw failure('ENV_ACCESS', from);
    const place = this.#place(to, false);
    if (place.directory.entries.has(place.name)) throw failure('ENV_EXISTS', to);
    this.#checkSpaceForName(to);
    this.#rename([{ ...place, node }]);
  }

  rename(from: string, to: string): void {
    const source = this.#place(from, false);
    const target = this.#place(to, false);
    const node = source.directory.entries.get(source.name);
    if (node === undefined) throw failure('ENV_NOT_FOUND', from);
    const replaced = target.directory.entries.get(target.name);
    if (replaced === node) return; // rename(2): two names of one file stay as they are.
    if (node instanceof DiskDirectory) this.#checkDirectoryMove(node, replaced, target, to);
    else if (replaced instanceof DiskDirectory) throw failure('ENV_IS_A_DIRECTORY', to);
    this.#rename([
      { ...source, node: undefined },
      { ...target, node },
    ]);
  }

  remove(path: string): void {
    const place = this.#place(path, false);
    const node = place.directory.entries.get(place.name);
    if (node === undefined) throw failure('ENV_NOT_FOUND', path);
    if (node instanceof DiskDirectory) throw failure('ENV_IS_A_DIRECTORY', path);
    this.#rename([{ ...place, node: undefined }]);
  }

  removeDirectory(path: string): void {
    const place = this.#place(path, false);
    const node = place.directory.entries.get(place.name);
    if (node === undefined) throw failure('ENV_NOT_FOUND', path);
    if (!(node instanceof DiskDirectory)) throw failure('ENV_NOT_A_DIRECTORY', path);
    if (node.entries.size > 0) throw failure('ENV_EXISTS', path);
    this.#rename([{ ...place, node: undefined }]);
  }

  /** What a sync of a directory that begins now must force; later changes are not its affair. */
  get mark(): number {
    return this.#changeCount;
  }

  /** Makes the directory's names durable, and those that a rename ties to them. */
  syncDirectory(path: string, mark: number): void {
    for (const { directory, name, node } of this.#takeChanges(this.#directory(path), mark)) {
      setName(directory.durable, name, node);
    }
  }

  /** A failed fsync of a directory: its changes are visible, and no later one saves them. */
  loseDirectory(path: string, mark: number): void {
    this.#takeChanges(this.#directory(path), mark);
  }

  /** False if the file is locked by another holder. */
  lock(file: DiskFile, holder: object): boolean {
    if (this.#locks.has(file)) return false;
    this.#locks.set(file, holder);
    return true;
  }

  unlock(file: DiskFile, holder: object): void {
    if (this.#locks.get(file) === holder) this.#locks.delete(file);
  }

  /** Writes what fits and says how much; ENV_NO_SPACE if nothing does. */
  write(file: DiskFile, source: Uint8Array, offsetBytes: number, path: string): number {
    const pagesFree = Math.max(0, Math.floor(this.capacityBytes / PAGE_BYTES) - this.#usedPages);
    const lengthBytes = file.image.fitting(source.byteLength, offsetBytes, pagesFree);
    if (lengthBytes === 0 && source.byteLength > 0) throw failure('ENV_NO_SPACE', path);
    const bytes = new Uint8Array(source.subarray(0, lengthBytes)); // A Buffer's slice is no copy.
    this.#counted(file, () => file.change({ kind: 'write', offsetBytes, bytes }));
    return lengthBytes;
  }

  truncate(file: DiskFile, sizeBytes: number): void {
    this.#counted(file, () => file.change({ kind: 'resize', sizeBytes }));
  }

  punchHole(file: DiskFile, offsetBytes: number, lengthBytes: number): void {
    const length = Math.min(lengthBytes, Math.max(0, file.image.sizeBytes - offsetBytes));
    this.#counted(file, () => file.change({ kind: 'zero', offsetBytes, lengthBytes: length }));
  }

  // What only a test does.

  /** The file at `path`, as it is, without a call being counted. */
  file(path: string): DiskFile {
    const node = this.#node(path, true);
    assert(node instanceof DiskFile, `${path} is not a file`);
    return node;
  }

  /** Whether something stands at `path`. */
  has(path: string): boolean {
    try {
      this.#node(path, false);
      return true;
    } catch {
      return false;
    }
  }

  /** A durable thing that no program of ours makes: a symbolic link, or a FIFO. */
  plant(path: string, what: { readonly symlinkTo: string } | 'fifo'): void {
    const place = this.#place(path, false);
    const inode = this.#inodes++;
    const node =
      what === 'fifo' ? new DiskFile(inode, 'special') : new DiskSymlink(inode, what.symlinkTo);
    setName(place.directory.entries, place.name, node);
    setName(place.directory.durable, place.name, node);
  }

  flipBit(path: string, bit: number): void {
    this.file(path).flipBit(bit);
  }

  /** What a machine finds after a power cut at this moment; this disk goes on unharmed. */
  crash(seed: number): SimulatedDisk {
    const draws = new Draws(seed, 0);
    const survival = draws.pick(nameSurvivals);
    const prefix = draws.below(this.#unforced.length + 1);
    const kept = this.#unforced.filter((_, index) => {
      if (survival === 'a-prefix') return index < prefix;
      return survival === 'everything' || (survival === 'any-subset' && draws.chance(0.5));
    });
    return this.#successor(
      (directory) => {
        const names = new Map(directory.durable);
        for (const part of kept.flatMap(({ parts }) => parts)) {
          if (part.directory === directory) setName(names, part.name, part.node);
        }
        return names;
      },
      (file) => file.crash(seed, file.inode),
    );
  }

  /** The disk as programs see it: what a process that was killed leaves behind. */
  copy(): SimulatedDisk {
    return this.#successor(
      (directory) => directory.entries,
      (file) => file.copy(file.inode),
    );
  }

  /** These names of the root stand for what they do in `copy`, as durable; nobody has them open. */
  goBack(names: readonly string[], copy: SimulatedDisk): void {
    const { entries } = copy.copy().#root;
    for (const name of names) {
      for (const { image } of new Set(filesIn(entries.get(name))))
        this.#usedPages += image.pageCount;
      for (const file of filesIn(this.#root.entries.get(name))) this.#drop(file);
      const { entries: now, durable } = this.#root;
      for (const names of [now, durable]) setName(names, name, entries.get(name));
    }
  }

  // Names.

  #successor(
    namesOf: (directory: DiskDirectory) => ReadonlyMap<string, DiskNode>,
    fileOf: (file: DiskFile) => DiskFile,
  ): SimulatedDisk {
    const disk = new SimulatedDisk({ capacityBytes: this.capacityBytes });
    const made = new Map<DiskNode, DiskNode>();
    const translate = (node: DiskNode): DiskNode => {
      const known = made.get(node);
      if (known !== undefined) return known;
      if (node instanceof DiskFile) {
        const file = fileOf(node);
        disk.#usedPages += file.image.pageCount;
        made.set(node, file);
        return file;
      }
      if (node instanceof DiskSymlink) return node;
      const directory = new DiskDirectory(node.inode);
      made.set(node, directory);
      for (const [name, child] of namesOf(node)) {
        const next = translate(child);
        if (next instanceof DiskFile) next.references++;
        directory.entries.set(name, next);
        directory.durable.set(name, next);
      }
      return directory;
    };
    disk.#root = translate(this.#root) as DiskDirectory;
    disk.#inodes = this.#inodes;
    return disk;
  }

  #rename(change: NameChange): void {
    for (const { directory, name, node } of change) {
      const replaced = directory.entries.get(name);
      if (node instanceof DiskFile) node.references++;
      setName(directory.entries, name, node);
      if (replaced instanceof DiskFile) this.#drop(replaced);
    }
    this.#unforced.push({ number: ++this.#changeCount, parts: change });
  }

  /** Takes out the changes up to `mark` that touch the directory, or what a rename ties to it. */
  #takeChanges(directory: DiskDirectory, mark: number): NameChange {
    const due = this.#unforced.filter(({ number }) => number <= mark);
    const directories = new Set([directory]);
    const touches = (parts: NameChange): boolean =>
      parts.some((part) => directories.has(part.directory));
    for (let size = 0; size !== directories.size; ) {
      size = directories.size;
      for (const { parts } of due.filter((change) => touches(change.parts))) {
        for (const part of parts) directories.add(part.directory);
      }
    }
    const taken = new Set(due.filter(({ parts }) => touches(parts)));
    this.#unforced = this.#unforced.filter((change) => !taken.has(change));
    return [...taken].flatMap(({ parts }) => parts);
  }

  #checkDirectoryMove(
    node: DiskDirectory,
    replaced: DiskNode | undefined,
    target: Place,
    to: string,
  ): void {
    if (replaced !== undefined) {
      if (!(replaced instanceof DiskDirectory)) throw failure('ENV_NOT_A_DIRECTORY', to);
      if (replaced.entries.size > 0) throw failure('ENV_EXISTS', to);
    }
    if (contains(node, target.directory)) throw failure('ENV_INVALID', to);
  }

  #checkSpaceForName(path: string): void {
    if (this.usedBytes >= this.capacityBytes) throw failure('ENV_NO_SPACE', path);
  }

  #counted(file: DiskFile, change: () => void): void {
    const before = file.image.pageCount;
    change();
    this.#usedPages += file.image.pageCount - before;
  }

  #drop(file: DiskFile): void {
    file.references--;
    assert(file.references >= 0);
    if (file.references === 0) this.#usedPages -= file.image.pageCount;
  }

  #directory(path: string): DiskDirectory {
    const node = this.#node(path, true);
    if (node instanceof DiskDirectory) return node;
    throw failure('ENV_NOT_A_DIRECTORY', path);
  }

  #node(path: string, follow: boolean): DiskNode {
    const place = this.#place(path, follow);
    if (place.name === '') return place.directory;
    const node = place.directory.entries.get(place.name);
    if (node === undefined) throw failure('ENV_NOT_FOUND', path);
    return node;
  }

  /** Where the last name of `path` stands; for the root itself the name is empty. */
  #place(path: string, follow: boolean): Place {
    const stack = [this.#root];
    const todo = path.split('/').reverse();
    let links = 0;
    for (;;) {
      const name = todo.pop();
      const directory = stack.at(-1)!;
      if (name === undefined) return { directory, name: '' };
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      if (Buffer.byteLength(name) > NAME_BYTES_MAX) throw failure('ENV_INVALID', path);
      const last = todo.every((rest) => rest === '' || rest === '.');
      const node = directory.entries.get(name);
      if (node instanceof DiskSymlink && (follow || !last)) {
        if (++links > SYMLINKS_MAX) throw failure('ENV_INVALID', path);
        if (node.target.startsWith('/')) stack.length = 1;
        todo.push(...node.target.split('/').reverse());
      } else if (last && !(node instanceof DiskDirectory)) return { directory, name };
      else if (node === undefined) throw failure('ENV_NOT_FOUND', path);
      else if (!(node instanceof DiskDirectory)) throw failure('ENV_NOT_A_DIRECTORY', path);
      else if (last) return { directory, name };
      else stack.push(node);
    }
  }
}
