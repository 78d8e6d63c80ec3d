/** What the mount shows: one file, as its root or in a directory; all but the file's bytes. */
import {
  type Attributes,
  encodeAttributes,
  encodeDirectory,
  encodeEntry,
  encodeFileSystem,
  encodeOpened,
  encodeStatus,
  type FuseRequest,
} from './fuse-codec.ts';
import {
  EISDIR,
  ENOENT,
  ENOTDIR,
  ENTRY_DIRECTORY,
  ENTRY_FILE,
  EROFS,
  MODE_DIRECTORY,
  MODE_FILE,
  OP_GETATTR,
  OP_LOOKUP,
  OP_OPEN,
  OP_OPENDIR,
  OP_READDIR,
  OP_SETATTR,
  OP_STATFS,
} from './fuse-constants.ts';

export type FuseTreeOptions = {
  /** Undefined: the file itself is the root. */
  readonly fileName: string | undefined;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Others may use it too, as far as the mount lets them. */
  readonly forOthers: boolean;
  readonly modifiedMs: number;
  readonly userId: number;
  readonly groupId: number;
};

const ROOT = 1;
const FILE_IN_DIRECTORY = 2;
/** Nothing changes but by our own answers, so that the kernel may believe them for long. */
const VALID_SECONDS = 3600;
/** The part of open(2)'s flags that says how: reading, writing or both. */
const ACCESS_MODE = 3;

export class FuseTree {
  readonly fileNode: number;
  readonly #options: FuseTreeOptions;

  constructor(options: FuseTreeOptions) {
    this.#options = options;
    this.fileNode = options.fileName === undefined ? ROOT : FILE_IN_DIRECTORY;
  }

  /** The reply, or undefined if this request is not about names and attributes. */
  answer(request: FuseRequest): Uint8Array | undefined {
    const { opcode, node } = request;
    const isFile = node === this.fileNode;
    switch (opcode) {
      case OP_LOOKUP:
        return this.#lookup(request);
      case OP_GETATTR:
      case OP_SETATTR: // Ignored, truncation too, as block devices ignore it.
        if (!isFile && node !== ROOT) return encodeStatus(request, ENOENT);
        return encodeAttributes(request, this.#attributes(isFile), VALID_SECONDS);
      case OP_OPEN:
        return this.#open(request, isFile);
      case OP_OPENDIR:
        return isFile ? encodeStatus(request, ENOTDIR) : encodeOpened(request);
      case OP_READDIR:
        return this.#list(request, isFile);
      case OP_STATFS:
        return encodeFileSystem(request, this.#options.sizeBytes);
      default:
        return undefined;
    }
  }

  #lookup(request: FuseRequest): Uint8Array {
    const { fileName } = this.#options;
    if (fileName === undefined) return encodeStatus(request, ENOTDIR);
    if (request.node !== ROOT || request.name !== fileName) return encodeStatus(request, ENOENT);
    return encodeEntry(request, this.#attributes(true), VALID_SECONDS);
  }

  #open(request: FuseRequest, isFile: boolean): Uint8Array {
    if (!isFile) return encodeStatus(request, EISDIR);
    const writes = (request.flags & ACCESS_MODE) !== 0;
    return writes && this.#options.readOnly ? encodeStatus(request, EROFS) : encodeOpened(request);
  }

  #list(request: FuseRequest, isFile: boolean): Uint8Array {
    const { fileName } = this.#options;
    if (isFile || fileName === undefined) return encodeStatus(request, ENOTDIR);
    const entries = [
      { node: ROOT, type: ENTRY_DIRECTORY, name: '.' },
      { node: ROOT, type: ENTRY_DIRECTORY, name: '..' },
      { node: FILE_IN_DIRECTORY, type: ENTRY_FILE, name: fileName },
    ];
    return encodeDirectory(request, entries, request.offsetBytes, request.lengthBytes);
  }

  #attributes(isFile: boolean): Attributes {
    const { sizeBytes, readOnly, forOthers, modifiedMs, userId, groupId } = this.#options;
    const reading = forOthers ? 0o444 : 0o400;
    const writing = readOnly ? 0 : reading >> 1;
    const entering = isFile ? 0 : reading >> 2;
    return {
      node: isFile ? this.fileNode : ROOT,
      sizeBytes: isFile ? sizeBytes : 0,
      mode: (isFile ? MODE_FILE | writing : MODE_DIRECTORY) | reading | entering,
      links: isFile ? 1 : 2,
      modifiedMs,
      userId,
      groupId,
    };
  }
}
