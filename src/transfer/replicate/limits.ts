/** Every bound of a replication, with its reason. */
import assert from 'node:assert/strict';
import { FRAME_RAW_MAX } from '../../codec/index.ts';
import { BODY_BYTES_MAX } from '../../wire/index.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The unit in which content is offered and compared: that of the volume digest. */
export const OFFER_BYTES = 64 * KIB;

/** The unit in which changes are tracked, and what came of an epoch that was given up is found. */
export const BLOCK_BYTES = 4 * KIB;

/** The longest record of a journal: a message's body as it came, or made anew from a patch. */
export const JOURNAL_RECORD_BYTES_MAX = BODY_BYTES_MAX;

/** What a journal's file begins with may say about its volume. */
export const JOURNAL_HEADER_BYTES_MAX = 4 * KIB;

/** Committed bytes in a journal that make a snapshot due, so that the next one begins empty. */
export const JOURNAL_BYTES_DUE = 256 * MIB;

/**
 * What the journals of one volume may hold beside twice its size: as much as makes a snapshot due,
 * once in the one that is becoming one and once in the next. Twice, for an epoch that was given up.
 */
export const JOURNAL_VOLUMES_MAX = 2;
export const JOURNAL_MORE_BYTES = 2 * JOURNAL_BYTES_DUE;

/** Pieces that make it due as well: they are in memory, at about 150 bytes each. */
export const JOURNAL_PIECES_DUE = 200_000;

/** Pieces of one epoch; a volume of 1 TiB that is all new comes in a million. */
export const EPOCH_PIECES_MAX = 4_000_000;

/** Hashes by which what lies in the journal is found again: 16 GiB in whole chunks. */
export const KNOWN_HASHES_MAX = 256 * KIB;

/** What came of an epoch that was given up is found again block by block up to so much. */
export const GIVEN_UP_BYTES_MAX = 64 * MIB;

/** Decoded records that are kept for the next read of their neighbourhood. */
export const SECTION_CACHE_BYTES = 8 * MIB;

/** Decoded frames of a tenant's repository that are kept for the next read of their neighbours. */
export const CHUNKS_KEPT_BYTES = 16 * MIB;

/**
 * Pieces of an epoch on which its own patches may stand: they are found by their place. An agent
 * stops at half of them, as what it sends later may come before.
 */
export const PLACED_PIECES_MAX = 2 ** 18;

/** So long a patch waits for a place of its own epoch; whoever sent it has sent that before. */
export const PLACE_WAIT_MS = 10_000;

/** Messages with patches that are made whole at the same time, of all agents: 6 MiB each. */
export const WHOLE_AT_ONCE_MAX = 16;

/** What one message stands on is read once, up to so much. */
export const PARENTS_CACHE_BYTES = 4 * MIB;

/** Content of a volume whose samples an agent knows at a time: 9 MiB of them, and as many older. */
export const LIKENESS_BYTES_MAX = 512 * MIB;

/** What one window's patches stand on is read into so much, the most useful first. */
export const PLACES_BYTES_MAX = 8 * MIB;

/** Messages of an epoch that came before its EPOCH_CUT: no more than credit lets in. */
export const EARLY_MESSAGES_MAX = 1_024;

/** What an agent reads, hashes and sends as one message. */
export const WINDOW_BYTES = FRAME_RAW_MAX;

/**
 * Windows of one session that are read, offered or sent at the same time: 16 MiB, 2.5 Gbit/s at 50
 * ms.
 */
export const WINDOWS_IN_FLIGHT = 16;

/** So long an epoch is worked on before those who write have their turn. */
export const SLICE_MS = 0.1;

/**
 * Up to so much of an epoch travels in smaller windows, which keep writers waiting for less; with
 * hashes and a frame's heads they fit into buffers of 256 KiB.
 */
export const SMALL_EPOCH_BYTES = 64 * MIB;
export const SMALL_WINDOW_BYTES = 240 * KIB;

/** Below this an epoch's data travels at once: a round trip costs more than the bytes. */
export const OFFER_FROM_BYTES = 4 * MIB;

/** Chunks whose hashes one answer holds: 256 KiB. */
export const HASHES_PER_ANSWER = 8 * KIB;

/** Written since the last cut: the next epoch does not wait for its time. */
export const EPOCH_BYTES_DUE = 256 * MIB;

/** What blocks held before is kept for patches: two seconds at 20 MB/s, and half as much again. */
export const PRE_IMAGE_BYTES_MAX = 64 * MIB;

/** A planned move reads the whole volume once for its digest. */
export const MOVE_TIMEOUT_MS = 60 * 60 * 1000;

/** A promotion waits for so many leases: two clocks do not run quite alike. */
export const LEASE_MARGIN = 1.1;

/** Ranges of a change set that are held at a time; with more of them all is compared. */
export const CHANGED_RANGES_MAX = 1_000_000;

/** Chunks of which one request asks the hashes while a volume is brought back: 8 MiB. */
export const HASHES_PER_ASK = 128;

/** Requests for hashes and content that are open at the same time. */
export const READS_IN_FLIGHT = 16;

/** Ranges of a change set that one one answer holds: 16 KiB at most. */
export const CHANGES_PER_PAGE = 1_024;

/**
 * Before an export serves its volume it hears from its providers who writes it, unless they take
 * longer: a few round trips around the world, and the journal of a replica to be opened.
 */
export const START_WAIT_MS = 5_000;

/** Requests that one session may have open. */
export const REQUESTS_MAX = 64;

/** Volumes that one session may have open. */
export const SESSION_VOLUMES_MAX = 1_024;

/** Volumes of one group: each of its epochs is a message and a sync for each of them. */
export const GROUP_MEMBERS_MAX = 32;

/** Their names, 128 bytes each at most, and that of the group, as JSON. */
export const GROUP_TEXT_BYTES_MAX = 16 * KIB;

/** Providers by which a volume is forwarded, one to the next. */
export const HOPS_MAX = 8;

/** The JSON of a request or an answer. */
export const REQUEST_BYTES_MAX = 16 * KIB;

assert(WINDOW_BYTES % OFFER_BYTES === 0);
