/** Every bound of a session and its lanes, with its reason. */
import assert from 'node:assert/strict';
import { FRAME_RECORDS_MAX, FRAME_STORED_MAX, PATCH_PARENTS_MAX } from '../codec/index.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** What one place holds that a patch stands on: a chunk. */
export const PLACE_BYTES_MAX = 64 * KIB;
/** Of each entry of BLOCK_DATA: kind, three varints, class and importance, a SHA-256, places. */
export const ENTRY_BYTES_MAX = 1 + 3 * 8 + 2 + 32 + 1 + PATCH_PARENTS_MAX * (4 + 8);
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
/** What longer buffers of the pool differ by. */
export const POOL_BUFFER_STEP_BYTES = 128 * KIB;

/** Bytes that wait under one priority; beyond them `send` says no. Room for a few frames. */
export const QUEUE_BYTES_MAX = 8 * MIB;
export const QUEUE_MESSAGES_MAX = 4 * KIB;
/** Bytes that a lane hands to its socket and the kernel has not taken. */
export const LANE_QUEUED_BYTES_MAX = 512 * KIB;
/** Messages are gathered up to this into one call. */
export const GATHERED_BYTES_MAX = 256 * KIB;

/** What a lane may send before the first ACK: two of the largest messages. */
export const CREDIT_BYTES_INITIAL = 2 * BODY_BYTES_MAX;
/** By how much the windows of all lanes of a session may grow together: 1 Gbit/s at 250 ms. */
export const RECEIVE_BYTES_MAX = 32 * MIB;
/** Messages are done with for so long, at most, before an ACK says so. */
export const ACK_DELAY_MS = 5;
export const ACK_MESSAGES_MAX = 64;

/** Waits, inner below outer. A further connection's dial, TLS and hello are one after the other. */
export const DIAL_TIMEOUT_MS = 5_000;
export const TLS_TIMEOUT_MS = 10_000;
/** From the last byte of TLS to both HELLOs. */
export const HELLO_TIMEOUT_MS = 10_000;
/** A peer that takes in nothing while something waits for it. */
export const HEARTBEAT_MS = 2_000;
export const HEARTBEAT_MS_MAX = 10_000;
/** Nothing has come, or no heartbeat was answered, for so long: the connection is given up. */
export const SILENCE_MS = 30_000;
/** After a loss: between tries, and how long the host keeps what belongs to the session. */
export const REDIAL_FIRST_MS = 100;
export const REDIAL_MAX_MS = 10_000;
export const RESUME_MS = 300_000;
/** What is queued at an orderly end may still leave. */
export const FAREWELL_MS = 5_000;

/** Connections that have not said hello; one more ends the oldest of them. */
export const HALF_OPEN_MAX = 512;
/** Sessions of one host, connected or waiting to be resumed. */
export const SESSIONS_MAX = 1_024;

assert(DIAL_TIMEOUT_MS <= TLS_TIMEOUT_MS && TLS_TIMEOUT_MS < SILENCE_MS);
assert(DIAL_TIMEOUT_MS + TLS_TIMEOUT_MS + HELLO_TIMEOUT_MS <= SILENCE_MS, 'a try ends before it');
assert(3 * HEARTBEAT_MS_MAX <= SILENCE_MS, 'two heartbeats may be late');
assert(SILENCE_MS + REDIAL_MAX_MS < RESUME_MS, 'a session outlives the loss of its connection');
assert(CREDIT_BYTES_INITIAL > BODY_BYTES_MAX, 'every message fits into the credit');
assert(CREDIT_BYTES_INITIAL <= RECEIVE_BYTES_MAX / 4, 'several lanes fit');
assert(
  BODY_BYTES_MAX >= FRAME_STORED_MAX + ENTRIES_MAX * ENTRY_BYTES_MAX + EXTENSIONS_BYTES_MAX,
  'the largest frame must fit into a message',
);
assert(BODY_BYTES_MAX >= REFERENCES_MAX * 48, 'so must the longest list of references');
assert(BODY_BYTES_MAX < 2 ** 24, 'lengths and offsets of the UDP lane have three bytes');
