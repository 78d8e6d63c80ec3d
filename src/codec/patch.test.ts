/** Goal: patches come back against their parents, whatever those begin with, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { equalBytes } from '../core/index.ts';
import { CodecError } from './errors.ts';
import { decodePatch, encodePatch } from './patch.ts';

const bytes = fc.uint8Array({ maxLength: 2000 });
const parents = fc.array(bytes, { minLength: 1, maxLength: 4 });

test('a patch comes back against its parents', () =>
  fc.assert(
    fc.property(bytes, parents, (chunk, dictionary) => {
      const patch = encodePatch(chunk, dictionary);
      assert(patch !== undefined);
      assert(equalBytes(decodePatch(patch, dictionary, chunk.byteLength), chunk));
    }),
  ));

test('parents that begin like a zstd dictionary are taken as plain bytes', () => {
  const parent = new Uint8Array(65536);
  for (let at = 0; at < parent.byteLength; at++) parent[at] = (at * at) >> 7;
  parent.set([0x37, 0xa4, 0x30, 0xec]);
  const chunk = new Uint8Array(parent);
  chunk.fill(1, 1000, 1010);
  const patch = encodePatch(chunk, [parent]);
  assert(patch !== undefined && patch.byteLength < 200, 'the parent served as dictionary');
  assert(equalBytes(decodePatch(patch, [parent], chunk.byteLength), chunk));
  const empty = new Uint8Array(0);
  const behind = encodePatch(chunk, [empty, parent]);
  assert(behind !== undefined && equalBytes(decodePatch(behind, [empty, parent], 65536), chunk));
});

test('a small change of a 64 KiB chunk costs next to nothing', () => {
  const parent = new Uint8Array(65536);
  let state = 1;
  for (let at = 0; at < parent.byteLength; at++) {
    state = Math.imul(state, 1664525) + 1013904223;
    parent[at] = state >>> 24;
  }
  const chunk = new Uint8Array(parent);
  chunk[30_000] = chunk[30_000]! ^ 1;
  assert(encodePatch(chunk, [parent])!.byteLength < 64);
});

test('a wrong parent, wrong bytes or a wrong length give wrong bytes or CODEC_DAMAGED, no more', () =>
  fc.assert(
    fc.property(
      bytes,
      bytes,
      bytes,
      fc.nat(3000),
      fc.boolean(),
      (chunk, parent, other, rawBytes, noise) => {
        const patch = noise ? other : encodePatch(chunk, [parent])!;
        try {
          assert(decodePatch(patch, [other], rawBytes).byteLength <= rawBytes + 1);
        } catch (error) {
          assert(error instanceof CodecError && error.code === 'CODEC_DAMAGED', String(error));
        }
      },
    ),
    { numRuns: 1000 },
  ));
