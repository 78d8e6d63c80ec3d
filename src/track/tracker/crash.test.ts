/** Goal: after any crash the marks are a superset; and the trials find what would break that. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Env, OpenFile } from '../../core/index.ts';
import { type Plant, tryCrashes, withMethods } from './crash.suite.ts';
import type { Flight } from './epochs.ts';
import type { Tracker } from './tracker.ts';

const SEEDS = 12;
const SEEDS_FOR_A_PLANT = 40;

test('whenever the power goes, everybody is told at least what they lack', async () => {
  let crashes = 0;
  for (let seed = 1; seed <= SEEDS; seed++) crashes += await tryCrashes(seed);
  assert.ok(crashes > SEEDS * 8, `only ${crashes} crashes`);
});

const plants: Readonly<{ [name: string]: Plant }> = {
  'marks after the write': {
    tracker: (tracker) =>
      withMethods(tracker, {
        touch(first: number, last: number): boolean {
          if (tracker.touch(first, last)) return true;
          const marked = tracker.heat(first, last).then(() => tracker.touch(first, last));
          marked.catch(() => undefined);
          return true;
        },
      }),
  },
  'skips the sync of the log': { env: withoutSync },
  "clears marks on another consumer's acknowledgement": {
    tracker: (tracker) =>
      withMethods(tracker, {
        async acknowledge(...[consumer, cut, holding]: Parameters<Tracker['acknowledge']>) {
          for (const other of tracker.cursors()) {
            await tracker.acknowledge(other.consumer, cut, holding);
          }
          await tracker.acknowledge(consumer, cut, holding);
        },
      }),
  },
  'cuts without regard to writes in flight': {
    tracker: (tracker) => withMethods(tracker, { flights: new Set<Flight>() }),
  },
};

for (const [name, plant] of Object.entries(plants)) {
  test(`planted: a tracker that ${name} is found`, async () => {
    let found: unknown;
    for (let seed = 1; seed <= SEEDS_FOR_A_PLANT && found === undefined; seed++) {
      found = await tryCrashes(seed, { plant }).then(
        () => undefined,
        (error: unknown) => error,
      );
    }
    assert.match(String(found), /is not told of block|cursor of \w+ went|is gone/);
  });
}

function withoutSync(env: Env): Env {
  const { files } = env;
  return {
    ...env,
    files: {
      ...files,
      async open(path, mode, options) {
        const file = await files.open(path, mode, options);
        return { ...methodsOf(file), path: file.path, sync: async () => undefined };
      },
    },
  };
}

function methodsOf(file: OpenFile): OpenFile {
  return {
    path: file.path,
    stat: () => file.stat(),
    read: (target, offsetBytes, done) => file.read(target, offsetBytes, done),
    write: (source, offsetBytes, done) => file.write(source, offsetBytes, done),
    sync: () => file.sync(),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    punchHole: (offsetBytes, lengthBytes) => file.punchHole(offsetBytes, lengthBytes),
    nextData: (offsetBytes) => file.nextData(offsetBytes),
    close: () => file.close(),
  };
}
