/** The numbers of the NBD protocol, named as in its document (doc/proto.md of the NBD project). */

/** Magic numbers of eight bytes travel as two halves: none of them is ever computed with. */
export const HANDSHAKE_MAGIC = [0x4e42444d, 0x41474943] as const; // "NBDMAGIC"
export const OPTION_MAGIC = [0x49484156, 0x454f5054] as const; // "IHAVEOPT"
export const OLDSTYLE_MAGIC = [0x00420281, 0x861253] as const;
export const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const;

export const REQUEST_MAGIC = 0x25609513;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c;

export const REQUEST_BYTES = 28;
export const EXTENDED_REQUEST_BYTES = 32;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;
export const EXTENDED_REPLY_BYTES = 32;
export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;

/** Handshake flags, the same bits in both directions. */
export const HANDSHAKE_FIXED_NEWSTYLE = 1;
export const HANDSHAKE_NO_ZEROES = 2;

export const OPTION_EXPORT_NAME = 1;
export const OPTION_ABORT = 2;
export const OPTION_LIST = 3;
export const OPTION_STARTTLS = 5;
export const OPTION_INFO = 6;
export const OPTION_GO = 7;
export const OPTION_STRUCTURED_REPLY = 8;
export const OPTION_LIST_META_CONTEXT = 9;
export const OPTION_SET_META_CONTEXT = 10;
export const OPTION_EXTENDED_HEADERS = 11;

export const REPLY_ACK = 1;
export const REPLY_SERVER = 2;
export const REPLY_INFO = 3;
export const REPLY_META_CONTEXT = 4;
/** Replies from here on are errors. */
export const REPLY_ERROR = 0x80000000;
export const REPLY_ERROR_UNSUPPORTED = REPLY_ERROR + 1;
export const REPLY_ERROR_POLICY = REPLY_ERROR + 2;
export const REPLY_ERROR_INVALID = REPLY_ERROR + 3;
export const REPLY_ERROR_PLATFORM = REPLY_ERROR + 4;
export const REPLY_ERROR_TLS_REQUIRED = REPLY_ERROR + 5;
export const REPLY_ERROR_UNKNOWN = REPLY_ERROR + 6;
export const REPLY_ERROR_SHUTDOWN = REPLY_ERROR + 7;
export const REPLY_ERROR_BLOCK_SIZE_REQUIRED = REPLY_ERROR + 8;
export const REPLY_ERROR_TOO_BIG = REPLY_ERROR + 9;
export const REPLY_ERROR_EXTENDED_HEADERS_REQUIRED = REPLY_ERROR + 10;

export const INFO_EXPORT = 0;
export const INFO_NAME = 1;
export const INFO_DESCRIPTION = 2;
export const INFO_BLOCK_SIZE = 3;

export const TRANSMISSION_HAS_FLAGS = 1 << 0;
export const TRANSMISSION_READ_ONLY = 1 << 1;
export const TRANSMISSION_SEND_FLUSH = 1 << 2;
export const TRANSMISSION_SEND_FUA = 1 << 3;
export const TRANSMISSION_ROTATIONAL = 1 << 4;
export const TRANSMISSION_SEND_TRIM = 1 << 5;
export const TRANSMISSION_SEND_WRITE_ZEROES = 1 << 6;
export const TRANSMISSION_SEND_DF = 1 << 7;
export const TRANSMISSION_CAN_MULTI_CONN = 1 << 8;
export const TRANSMISSION_SEND_CACHE = 1 << 10;
export const TRANSMISSION_SEND_FAST_ZERO = 1 << 11;

export const COMMAND_READ = 0;
export const COMMAND_WRITE = 1;
export const COMMAND_DISCONNECT = 2;
export const COMMAND_FLUSH = 3;
export const COMMAND_TRIM = 4;
export const COMMAND_CACHE = 5;
export const COMMAND_WRITE_ZEROES = 6;
export const COMMAND_BLOCK_STATUS = 7;

export const FLAG_FUA = 1 << 0;
export const FLAG_NO_HOLE = 1 << 1;
export const FLAG_DF = 1 << 2;
export const FLAG_REQ_ONE = 1 << 3;
export const FLAG_FAST_ZERO = 1 << 4;
export const FLAG_PAYLOAD_LENGTH = 1 << 5;

/** Structured reply chunks. */
export const CHUNK_DONE = 1;
export const CHUNK_NONE = 0;
export const CHUNK_OFFSET_DATA = 1;
export const CHUNK_OFFSET_HOLE = 2;
export const CHUNK_BLOCK_STATUS = 5;
export const CHUNK_BLOCK_STATUS_EXTENDED = 6;
export const CHUNK_ERROR = 0x8001;
export const CHUNK_ERROR_OFFSET = 0x8002;
/** Chunk types with this bit are errors, known or not. */
export const CHUNK_ERROR_BIT = 0x8000;

export const BASE_ALLOCATION = 'base:allocation';
export const STATUS_HOLE = 1;
export const STATUS_ZERO = 2;
/** In `ferry:dirty/<epoch>`, as in `qemu:dirty-bitmap:`. */
export const STATUS_DIRTY = 1;

/** IANA's port for NBD. */
export const DEFAULT_PORT = 10809;
