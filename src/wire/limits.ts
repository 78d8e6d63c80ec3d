/** Every bound of a session and its lanes, with its reason. */
import assert from 'node:assert/strict';
import { FRAME_RECORDS_MAX, FRAME_STORED_MAX } from '../codec/index.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Of each entry of BLOCK_DATA: kind, three varints, class and importance, a SHA-256. */
export const ENTRY_BYTES_MAX = 1 + 3 * 8 + 2 + 32;
/** Entries of one BLOCK_DATA: those of its frame, and as many runs of zeroes or no change. */
export const ENTRIES_MAX = 2 * FRAME_RECORDS_MAX;
/** The longest body of any message: a whole frame and what says where its records belong. */
export const BODY_BYTES_MAX = 2 * MIB;
/** Before both sides have said hello nothing longer is looked at. */
export const HELLO_BYTES_MAX = 8 * KIB;
/** All extensions of one message. */
export const EXTENSIONS_BYTES_MAX = 4 * KIB;
export const EXTENSIONS_MAX = 64;
/** Names of capabilities that one side lists. */
export const CAPABILITIES_MAX = 64;
export const CAPABILITY_BYTES_MAX = 32;
/** References in one BLOCK_REFERENCE, hashes in one OFFER: 1.3 MiB at 40 bytes each. */
export const REFERENCES_MAX = 32 * KIB;
/** Facts in one METADATA. */
export const FACTS_MAX = 4 * KIB;
export const FACT_BYTES_MAX = MIB;
/** A volume's name, as the receiver's own policy then maps it. */
export const NAME_BYTES_MAX = 255;
export const ERROR_CODE_BYTES_MAX = 64;
export const ERROR_TEXT_BYTES_MAX = 1 * KIB;
/** Bytes that one READ may ask for. */
export const READ_BYTES_MAX = MIB;

/** Messages sent and not acknowledged, and so the bits that an ACK may carry: 1 KiB. */
export const UNACKNOWLEDGED_MAX = 8 * KIB;
/** Lanes of one session; credits in an ACK. */
export const LANES_MAX = 16;

/** Buffers for bodies that are kept for later use; more are left to the garbage collector. */
export const POOL_IDLE_BYTES_MAX = 32 * MIB;
/** The smallest buffer of the pool; shorter bodies are copied on their own. */
export const POOL_BUFFER_BYTES_MIN = 16 * KIB;

assert(
  BODY_BYTES_MAX >= FRAME_STORED_MAX + ENTRIES_MAX * ENTRY_BYTES_MAX + EXTENSIONS_BYTES_MAX,
  'the largest frame must fit into a message',
);
assert(BODY_BYTES_MAX >= REFERENCES_MAX * 48, 'so must the longest list of references');
assert(BODY_BYTES_MAX < 2 ** 24, 'lengths and offsets of the UDP lane have three bytes');
