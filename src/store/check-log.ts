/** Checks the log from its first entry on, and that every checkpoint says what the log says. */
import { equalBytes, sha256, toHex } from '../core/index.ts';
import type { CheckRun } from './check.ts';
import { readCheckpoint, sealCheckpoint } from './checkpoint.ts';
import { damagedObject } from './errors.ts';
import { CHECKPOINT_BYTES_MAX, SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import { logKey, unsealEntry } from './log-entry.ts';
import { LogState } from './log-state.ts';
import { plainSealer } from './sealer.ts';

export async function checkLog(run: CheckRun): Promise<void> {
  const { objects, log } = run.repository;
  const checkpoints = new Map<number, string>();
  for await (const { key } of objects.list('checkpoints/')) {
    checkpoints.set(Number(key.slice('checkpoints/'.length)), key);
  }
  await log.refresh(); // Whoever made a checkpoint had committed its entry before.
  const state = new LogState();
  let whole = true;
  for (let sequence = 1; sequence <= log.state.sequence; sequence++) {
    const key = logKey(sequence);
    await run.part(key, async () => {
      const follows = whole;
      whole = false;
      const bytes = await objects.get(key, SMALL_OBJECT_BYTES_MAX);
      const entry = unsealEntry(objects.sealer, bytes, key);
      // Behind a damaged entry the others can only be checked by themselves.
      if (!follows) return;
      state.apply(entry, toHex(sha256(bytes)));
      whole = true;
      run.progress(bytes.byteLength);
    });
    const checkpoint = checkpoints.get(sequence);
    if (checkpoint === undefined) continue;
    checkpoints.delete(sequence);
    await checkCheckpoint(run, checkpoint, whole ? state : undefined);
  }
  for (const key of checkpoints.values()) {
    if (whole) run.note(key, damagedObject(key, 'it is of an entry that the log does not have'));
    else await checkCheckpoint(run, key, undefined);
  }
  if (whole && state.head !== log.state.head) {
    run.note('log', damagedObject(logKey(state.sequence), 'the log changed while it was read'));
  }
}

async function checkCheckpoint(
  run: CheckRun,
  key: string,
  expected: LogState | undefined,
): Promise<void> {
  await run.part(key, async () => {
    const { objects } = run.repository;
    const found = await readCheckpoint(objects, key);
    run.progress((await objects.get(key, CHECKPOINT_BYTES_MAX)).byteLength);
    if (expected === undefined) return;
    const spelled = (state: LogState) => sealCheckpoint(plainSealer, state);
    if (equalBytes(spelled(found), spelled(expected))) return;
    throw damagedObject(key, 'it does not say what the log says');
  });
}
