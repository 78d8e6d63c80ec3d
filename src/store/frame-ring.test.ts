/** The last frames are there, whole; older ones are not there, and never half. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameRing } from './frame-ring.ts';

test('what is found is what was put, and the last ones that fit together are found', () => {
  const bytesMax = 100;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 60 }), (lengths) => {
      const ring = new FrameRing(bytesMax);
      for (const [number, length] of lengths.entries()) {
        ring.set(`${number}`, new Uint8Array(length).fill(number + 1));
        assert.equal(ring.get(`${number}`)?.byteLength, length);
        let held = 0;
        for (let before = number; before >= 0; before--) {
          const found = ring.get(`${before}`);
          held += lengths[before]!;
          // What is left free before the ring begins anew is shorter than the longest frame.
          if (held <= bytesMax - 60) assert(found !== undefined, `${before} of ${number}`);
          if (found === undefined) continue;
          assert.equal(found.byteLength, lengths[before]);
          assert(
            found.every((byte) => byte === before + 1),
            `${before} of ${number}`,
          );
        }
      }
    }),
  );
});

test('a frame that is larger than the ring is not kept', () => {
  const ring = new FrameRing(10);
  ring.set('small', new Uint8Array(4));
  ring.set('large', new Uint8Array(11));
  assert.equal(ring.get('large'), undefined);
  assert.equal(ring.get('small')?.byteLength, 4);
});
