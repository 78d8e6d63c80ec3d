/** `--import`ed by a provider: notes each block that it is sent, for `replicate-kills` to count. */
import { appendFileSync, readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

/** The number of a block, and the beginning of its hash. */
const NOTE_BYTES = 16;
export const BLOCK_BYTES = 4096;

export type Received = { readonly bytes: number; readonly againBytes: number };

/** What was sent more than once: the same content to the same place. */
export function receivedIn(path: string): Received {
  const notes = readFileSync(path);
  const known = new Set<string>();
  for (let at = 0; at < notes.byteLength; at += NOTE_BYTES) {
    known.add(notes.toString('latin1', at, at + NOTE_BYTES));
  }
  const bytes = (notes.byteLength / NOTE_BYTES) * BLOCK_BYTES;
  return { bytes, againBytes: bytes - known.size * BLOCK_BYTES };
}

const { FERRY_TORTURE_RECEIVED: path } = process.env;
if (path !== undefined && isMainThread) await notingIn(path);

async function notingIn(path: string): Promise<void> {
  const { isZero } = await import('../../src/codec/index.ts');
  const { sha256 } = await import('../../src/core/index.ts');
  const { Attempt } = await import('../../src/transfer/replicate/provider/attempt.ts');
  const { plainOf } = await import('../../src/transfer/replicate/plain-data.ts');
  const { hasRecord } = await import('../../src/wire/index.ts');
  const { addData } = Attempt.prototype;
  Attempt.prototype.addData = function (data, journal, place) {
    addData.call(this, data, journal, place);
    if (data.frame.byteLength === 0) return; // Zeroes, or read from a journal.
    const { section } = plainOf(data);
    const notes: Uint8Array[] = [];
    let at = 0;
    for (const { kind, offsetBytes, lengthBytes } of data.entries) {
      if (!hasRecord(kind)) continue;
      for (let done = 0; done < lengthBytes; done += BLOCK_BYTES) {
        const block = section.subarray(at + done, at + done + BLOCK_BYTES);
        if (isZero(block)) continue;
        const note = sha256(block).slice(0, NOTE_BYTES);
        new DataView(note.buffer).setUint32(0, (offsetBytes + done) / BLOCK_BYTES);
        notes.push(note);
      }
      at += lengthBytes;
    }
    appendFileSync(path, Buffer.concat(notes));
  };
}
