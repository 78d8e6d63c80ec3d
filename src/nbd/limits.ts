/** Every bound of the NBD server and client, with its reason. */
import assert from 'node:assert/strict';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The document asks for 4,096 bytes at most; nothing longer is a name. */
export const NAME_BYTES_MAX = 4096;
/** The longest payload of a request or reply; what clients assume of a server that says nothing. */
export const PAYLOAD_BYTES_MAX = 32 * MIB;
/** A longer write is read past and answered with an error; one beyond this ends the connection. */
export const DISCARD_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;

/** One option of the handshake: a name, and room for many meta context queries. */
export const OPTION_BYTES_MAX = 64 * KIB;
/** All options of one handshake together, those that are read past included. */
export const HANDSHAKE_BYTES_MAX = 4 * MIB;
/** Clients that list thousands of exports ask for each. */
export const OPTIONS_MAX = 16 * KIB;
/** From connecting to the first request. */
export const HANDSHAKE_TIMEOUT_MS = 30_000;
/** Agreeing on TLS, within or beside the handshake; three round trips and some arithmetic. */
export const TLS_TIMEOUT_MS = 10_000;
/** A file of credentials; a hundred thousand keys, or any chain of certificates. */
export const CREDENTIALS_BYTES_MAX = 8 * MIB;
/** Names in a LIST reply; each may be 4 KiB long. */
export const LIST_EXPORTS_MAX = 10_000;
/** What a handshake may have queued before it waits for the peer to read. */
export const HANDSHAKE_QUEUED_BYTES_MAX = 64 * KIB;
/** One option's; nobody has so many contexts. */
export const META_QUERIES_MAX = 64;
/** Contexts that one connection selects. */
export const META_CONTEXTS_MAX = 16;
/** Epochs of a tracking device that clients can ask about; older ones are asked about in vain. */
export const DIRTY_CONTEXTS_MAX = 1024;

/** Extents in one BLOCK_STATUS reply and context: 16 KiB in the extended form. */
export const STATUS_EXTENTS_MAX = 1024;

/** BLOCK_STATUS requests of one connection that are being answered; they cost the most. */
export const STATUS_JOBS_MAX = 16;
/** What answering one for one context may hold: that many extents, told, converted, merged. */
export const STATUS_HELD_BYTES = 64 * KIB;

/** Zeroed or trimmed before others get their turn: some 10 ms of clearing memory. */
export const EFFECT_BYTES_PER_TURN = 64 * MIB;

/** Requests of one connection that the device has not answered. */
export const JOBS_MAX = 1024;
/** Payload bytes that one connection holds: being read, being written, waiting for the peer. */
export const HELD_BYTES_MAX = PAYLOAD_BYTES_MAX + 8 * MIB;
/** Payload bytes of all connections of a server; reached, each may still hold one request. */
export const SERVER_HELD_BYTES_MAX = 256 * MIB;
/**
 * While others wait for memory, who holds some must move so much, or all that it holds, between two
 * looks, 10 s apart: a modem's pace, which one byte now and then is not.
 */
export const PROGRESS_BYTES_MIN = 64 * KIB;
/** Open connections of one server; the next ones are closed at once. */
export const CONNECTIONS_MAX = 16 * KIB;
/** How long `close` waits for requests in flight. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** A slab carries the replies to one chunk of input: 64 reads of 4 KiB and their headers. */
export const SLAB_BYTES = 320 * KIB;
/** Unused slabs that are kept for later. */
export const SLAB_IDLE_BYTES_MAX = 64 * MIB;

/** Client: requests in flight on one connection. */
export const REQUESTS_IN_FLIGHT_MAX = 256;
/** Client: connecting and agreeing on options. */
export const CONNECT_TIMEOUT_MS = 30_000;
/** Client: a server that answers nothing for so long while requests wait is taken for dead. */
export const ANSWER_TIMEOUT_MS = 60_000;
/** Client: how long a server may be away before its device fails for good. */
export const RECONNECT_TIMEOUT_MS = 60_000;
/** Client: between two tries to reach it: short for a restart, longer for a reboot. */
export const RECONNECT_FIRST_PAUSE_MS = 50;
export const RECONNECT_PAUSE_MAX_MS = 2_000;
/** Client: a call, however often its connection was lost. */
export const CALL_TIMEOUT_MS = 300_000;
/** Client: a request that was in flight at so many losses in a row may well be their cause. */
export const REPLAYS_MAX = 5;
/** Client: acknowledged writes kept until they are flushed; at half of it a flush is sent. */
export const WRITE_LOG_BYTES_MAX = 64 * MIB;
export const WRITE_LOG_ENTRIES_MAX = 16 * KIB;
/** Client: writes of the log in flight at once; each is compared with all of them. */
export const REPEATS_AT_ONCE = 64;
/** Client: bytes of an option's reply; descriptions and error texts are not longer. */
export const OPTION_REPLY_BYTES_MAX = 64 * KIB;
/** Client: replies to one option, as many as a long export list has. */
export const OPTION_REPLIES_MAX = LIST_EXPORTS_MAX + 1;
/** Client: a chunk that is no data: an error's text, or the extents of a status. */
export const REPLY_PAYLOAD_BYTES_MAX = MIB;
/** Client: out-of-order pieces of one read; an honest server needs one per block at most. */
export const COVERAGE_PIECES_MAX = 16 * KIB;
/** Client: calls that wait for a place among the requests in flight. */
export const OPERATIONS_QUEUED_MAX = 64 * KIB;
/** Client: connections to one export. */
export const CLIENT_CONNECTIONS_MAX = 16;
/** Client: one WRITE_ZEROES or TRIM; shorter than 4 GiB and a multiple of every block size. */
export const EFFECT_BYTES_MAX = 1024 * MIB;

assert(HELD_BYTES_MAX > PAYLOAD_BYTES_MAX, 'the largest request must fit');
assert(OPTION_BYTES_MAX > 2 * NAME_BYTES_MAX, 'a name and a query must fit into an option');
assert(CONNECT_TIMEOUT_MS < ANSWER_TIMEOUT_MS, 'a try to connect ends before a request is late');
assert(CONNECT_TIMEOUT_MS < RECONNECT_TIMEOUT_MS, 'there is time for a second try');
assert(ANSWER_TIMEOUT_MS + RECONNECT_TIMEOUT_MS < CALL_TIMEOUT_MS, 'a late call is sent again');
assert(REPEATS_AT_ONCE <= REQUESTS_IN_FLIGHT_MAX, 'what is written again need not wait');
