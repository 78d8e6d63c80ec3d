/** The numbers of the FUSE protocol of Linux, version 7, named as in linux/fuse.h. */

export const FUSE_MAJOR = 7;
/** What is spoken; older kernels leave out fields that are needed here. */
export const FUSE_MINOR_MIN = 28; // Linux 4.20: requests longer than 128 KiB.
export const FUSE_MINOR = 31; // Nothing that came later is used.

export const OP_LOOKUP = 1;
export const OP_FORGET = 2;
export const OP_GETATTR = 3;
export const OP_SETATTR = 4;
export const OP_OPEN = 14;
export const OP_READ = 15;
export const OP_WRITE = 16;
export const OP_STATFS = 17;
export const OP_RELEASE = 18;
export const OP_FSYNC = 20;
export const OP_FLUSH = 25;
export const OP_INIT = 26;
export const OP_OPENDIR = 27;
export const OP_READDIR = 28;
export const OP_RELEASEDIR = 29;
export const OP_FSYNCDIR = 30;
export const OP_INTERRUPT = 36;
export const OP_DESTROY = 38;
export const OP_BATCH_FORGET = 42;
export const OP_FALLOCATE = 43;
export const OP_LSEEK = 46;

export const REQUEST_HEADER_BYTES = 40;
export const REPLY_HEADER_BYTES = 16;
/** Header and write_in: where the payload of a WRITE begins. */
export const WRITE_PAYLOAD_AT = REQUEST_HEADER_BYTES + 40;

export const INIT_ASYNC_READ = 1 << 0;
export const INIT_BIG_WRITES = 1 << 5;
export const INIT_ASYNC_DIRECT_IO = 1 << 15;
export const INIT_PARALLEL_DIRECTORIES = 1 << 18;
export const INIT_MAX_PAGES = 1 << 22;

/** fallocate(2). */
export const FALLOCATE_KEEP_SIZE = 1;
export const FALLOCATE_PUNCH_HOLE = 2;
export const FALLOCATE_ZERO_RANGE = 16;

/** lseek(2). */
export const WHENCE_DATA = 3;
export const WHENCE_HOLE = 4;

export const MODE_FILE = 0o100000;
export const MODE_DIRECTORY = 0o040000;
/** Types of directory entries: the mode's, twelve bits to the right. */
export const ENTRY_DIRECTORY = 4;
export const ENTRY_FILE = 8;

export const ENOENT = 2;
export const ENXIO = 6;
export const EBADF = 9;
export const EACCES = 13;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EFBIG = 27;
export const EROFS = 30;
export const EPROTO = 71;
export const ENOSYS = 38;
