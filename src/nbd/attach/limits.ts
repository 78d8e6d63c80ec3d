/** Every bound of attaching, with its reason. */
import assert from 'node:assert/strict';
import { WRITE_PAYLOAD_AT } from './fuse-constants.ts';

/** The longest read or write of the kernel: 256 pages, which is the most it ever sends. */
export const FUSE_TRANSFER_BYTES_MAX = 1024 * 1024;
/** A request is read into one; a READ is answered from one. The kernel asks for 8 KiB and more. */
export const FUSE_BUFFER_BYTES = FUSE_TRANSFER_BYTES_MAX + 4096;
/** Requests that the device has not answered; the next ones stay in the kernel. */
export const FUSE_REQUESTS_MAX = 64;
/** Buffers kept for later; at most one per request is in use. */
export const FUSE_BUFFERS_IDLE_MAX = 16;
/** Extents asked for at a time while looking for data or a hole. */
export const SEEK_EXTENTS_MAX = 256;
/** The kernel itself reads ahead at most so much. */
export const READ_AHEAD_BYTES_MAX = FUSE_TRANSFER_BYTES_MAX;

/** Connections of one kernel device; more than processors is of no use. */
export const KERNEL_CONNECTIONS_MAX = 16;
/** What one side of a relayed connection gets to end after the other has. */
export const RELAY_GOODBYE_MS = 5_000;
/** Attributes of one netlink message that are looked at. */
export const ATTRIBUTES_MAX = 4096;
/** Messages read for one answer: it may stand behind notices about other devices. */
export const ANSWERS_MAX = 256;
/** How long the kernel may take to answer, and to set a device up or take it down. */
export const KERNEL_TIMEOUT_MS = 30_000;
/** How often something is looked at for which there is no event. */
export const POLL_MS = 100;

assert(FUSE_BUFFER_BYTES >= FUSE_TRANSFER_BYTES_MAX + WRITE_PAYLOAD_AT, 'a whole write must fit');
assert(FUSE_TRANSFER_BYTES_MAX % 4096 === 0, 'the kernel counts in pages');
