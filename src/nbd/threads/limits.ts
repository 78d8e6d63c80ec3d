/** The bounds of a server on several threads, each with its reason. */
import assert from 'node:assert/strict';

/** Each has a bit in a word of 32; above the processors of one socket more bring nothing. */
export const THREADS_MAX = 16;
/** What one stripe covers of a device: several requests of usual size, so that most need one. */
export const STRIPE_BYTES = 64 * 1024;
/** Shared memory of 64 KiB; neighbours of up to 1 GiB never share a stripe. */
export const STRIPES = 16 * 1024;
/** Threads that are started anew before the server gives up: a cause that stays is no accident. */
export const RESTARTS_MAX = 8;
/** What a thread gets to end beyond the time that its clients get. */
export const THREAD_END_TIMEOUT_MS = 1_000;

assert(THREADS_MAX + 8 < 30, 'readers, owner and the mark of waiting fit into a positive word');
assert(THREADS_MAX < 256, 'an owner fits into eight bits');
