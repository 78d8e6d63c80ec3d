/** Writes to a tracked image as fast as it can, cuts now and then, until it is killed. */

import { nodeEnv } from '../../src/core/index.ts';
import { openFile } from '../../src/device/index.ts';
import { tracked } from '../../src/track/index.ts';
import { openTracker } from './tracker-place.ts';

const [, , folder, seedText] = process.argv;
if (folder === undefined) throw new Error('usage: tracker.child FOLDER SEED');

const BLOCK_BYTES = 4096;
const WRITERS = 4;
let state = Number(seedText) >>> 0 || 1;

/** xorshift32: the same writes for the same seed, as far as the timing goes. */
function below(count: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % count;
}

const env = nodeEnv();
const base = await openFile(env.files, `${folder}/disk.img`, { readOnly: false });
const device = tracked({ base, tracker: await openTracker(env, folder) });

async function write(): Promise<never> {
  for (;;) {
    const lengthBytes = BLOCK_BYTES * (1 + below(8));
    const blocks = Math.floor((device.sizeBytes - lengthBytes) / BLOCK_BYTES);
    // Mostly a few places, sometimes anywhere: warm regions and cold ones.
    const near = below(4) === 0 ? blocks : Math.max(1, Math.floor(blocks / 16));
    const offsetBytes = below(near) * BLOCK_BYTES;
    const kind = below(12);
    if (kind === 0) await device.zero(lengthBytes, offsetBytes, 0);
    else if (kind === 1) await device.trim(lengthBytes, offsetBytes, 0);
    else await device.write(Buffer.alloc(lengthBytes, 1 + below(255)), offsetBytes, 0);
    if (below(200) === 0) await new Promise((go) => setTimeout(go, below(30)));
  }
}

/** A second consumer, whose acknowledgements must not touch the first one's marks. */
async function follow(): Promise<never> {
  for (;;) {
    await new Promise((go) => setTimeout(go, below(40)));
    await using cut = device.cut();
    await cut.sealed;
    if (below(3) > 0) {
      const holding = { snapshot: `s${cut.epoch}`, digest: 'd' };
      await device.tracker.acknowledge('follower', cut, holding);
    }
  }
}

process.stdout.write('ready\n');
await Promise.all([...Array.from({ length: WRITERS }, write), follow()]);
