/**
 * A client that writes numbered blocks at a steady rate: `tracker.writer.ts URI BYTES/S`. Lines on
 * stdin, `begin` and `end NUMBER`, bound a window; each `end` answers what the window was like.
 */
import { createInterface } from 'node:readline';
import { nodeEnv } from '../src/core/index.ts';
import { connect } from '../src/nbd/index.ts';
import { BLOCK_BYTES, blockOf, IN_FLIGHT_MAX, type Window } from './tracker.numbers.ts';

const TURN_MS = 1;
const [uri, bytesPerSecond] = process.argv.slice(2) as [string, string];
const perMs = Number(bytesPerSecond) / BLOCK_BYTES / 1000;

const device = await connect(nodeEnv(), uri);
const blocks = device.sizeBytes / BLOCK_BYTES;
const buffers = Array.from({ length: IN_FLIGHT_MAX }, (_, at) => Buffer.alloc(BLOCK_BYTES, at));
let number = 0;
let window: { startMs: number; lastMs: number; stallMs: number; waits: number[] } | undefined;
let isOver = false;
let wake = () => {};
let epochMs = performance.now();
let issued = 0;

/** Each write waits for its turn; a slot holds one at a time, in the order of the numbers. */
async function slot(buffer: Buffer): Promise<void> {
  while (!isOver) {
    if (issued >= (performance.now() - epochMs) * perMs) {
      await new Promise<void>((resolve) => waiting.push(resolve));
      continue;
    }
    issued++;
    const own = number++;
    buffer.writeDoubleLE(own, 0);
    const beforeMs = performance.now();
    await device.write(buffer, blockOf(own, blocks) * BLOCK_BYTES, 0);
    answered(beforeMs, performance.now());
  }
}

const waiting: (() => void)[] = [];

function answered(beforeMs: number, nowMs: number): void {
  if (window === undefined) return;
  window.waits.push(nowMs - beforeMs);
  window.stallMs = Math.max(window.stallMs, nowMs - window.lastMs, nowMs - beforeMs);
  window.lastMs = nowMs;
}

function turn(): void {
  // Who was late is not made up for: that would be another load.
  const nowMs = performance.now();
  const behind = (nowMs - epochMs) * perMs - issued;
  if (behind > IN_FLIGHT_MAX * 4) {
    epochMs = nowMs;
    issued = 0;
  }
  for (const go of waiting.splice(0)) go();
  if (!isOver) setTimeout(turn, TURN_MS);
  else wake();
}

function report(): Window {
  const { waits, startMs, stallMs } = window!;
  waits.sort((a, b) => a - b);
  const at = (share: number) => waits[Math.floor(waits.length * share)] ?? 0;
  const seconds = (performance.now() - startMs) / 1000;
  const rate = (waits.length * BLOCK_BYTES) / seconds;
  return { p50Ms: at(0.5), p99Ms: at(0.99), stallMs, seconds, bytesPerSecond: rate };
}

process.stdout.write('ready\n');
const slots = buffers.map(slot);
turn();
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'begin') {
    const nowMs = performance.now();
    window = { startMs: nowMs, lastMs: nowMs, stallMs: 0, waits: [] };
  } else if (line.startsWith('end ')) {
    const told = { window: Number(line.slice(4)), ...report() };
    process.stdout.write(`${JSON.stringify(told)}\n`);
    window = undefined;
  }
}
isOver = true;
await new Promise<void>((resolve) => {
  wake = resolve;
});
await Promise.all(slots);
process.stdout.write(`${JSON.stringify({ writes: number })}\n`);
await device[Symbol.asyncDispose]();
