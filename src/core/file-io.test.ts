/** Goal: whole transfers come out of short ones, and neither the end nor an error is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FileDone, OpenFile } from './env.ts';
import { EnvError } from './errors.ts';
import { readFully, writeFully } from './file-io.ts';

/** A file of which each call transfers at most the next of `steps` bytes; then it fails. */
function shortFile(bytes: Uint8Array, steps: readonly number[]): OpenFile {
  const left = [...steps];
  const failure = new EnvError('ENV_IO', 'no steps are left', { hint: 'Give more steps.' });
  function answer(lengthBytes: number, done: FileDone, act: (count: number) => void): void {
    const step = left.shift();
    const count = Math.min(lengthBytes, step ?? 0);
    act(count);
    setImmediate(done, step === undefined ? failure : null, count);
  }
  const file = {
    path: 'short',
    read(target: Uint8Array, offsetBytes: number, done: FileDone): void {
      const rest = bytes.subarray(Math.min(offsetBytes, bytes.byteLength));
      answer(Math.min(target.byteLength, rest.byteLength), done, (count) =>
        target.set(rest.subarray(0, count)),
      );
    },
    write(source: Uint8Array, offsetBytes: number, done: FileDone): void {
      answer(source.byteLength, done, (count) => bytes.set(source.subarray(0, count), offsetBytes));
    },
  };
  return file as OpenFile;
}

const steps = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 32, maxLength: 32 });

test('short reads are continued up to the end of the file', () =>
  fc.assert(
    fc.asyncProperty(steps, fc.nat(30), fc.nat(20), async (sizes, offset, wanted) => {
      const bytes = Uint8Array.from({ length: 30 }, (_, index) => index + 1);
      const target = new Uint8Array(wanted);
      const got = await readFully(shortFile(bytes, sizes), target, offset);
      assert.equal(got, Math.min(wanted, 30 - offset));
      assert.deepEqual(target.subarray(0, got), bytes.subarray(offset, offset + got));
    }),
  ));

test('short writes are continued', () =>
  fc.assert(
    fc.asyncProperty(steps, fc.nat(10), fc.nat(20), async (sizes, offset, length) => {
      const bytes = new Uint8Array(30);
      await writeFully(shortFile(bytes, sizes), new Uint8Array(length).fill(5), offset);
      assert.deepEqual(bytes, new Uint8Array(30).fill(5, offset, offset + length));
    }),
  ));

test('an error in the middle is reported, and a write that makes no progress does not hang', async () => {
  const bytes = new Uint8Array(30);
  await assert.rejects(readFully(shortFile(bytes, [4]), new Uint8Array(9), 0), /no steps/);
  await assert.rejects(writeFully(shortFile(bytes, [4]), new Uint8Array(9), 0), /no steps/);
  await assert.rejects(
    writeFully(shortFile(bytes, [4, 0]), new Uint8Array(9), 0),
    /no more bytes at 4/,
  );
});
