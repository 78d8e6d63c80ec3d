/** Frames as they are made while somebody waits for them, at either side. */
import { type Compression, encodeFrame, type FrameInput } from '../../codec/index.ts';
import { memory } from './memory.ts';

/** New and incompressible data must not wait for the codec. */
const COMPRESSION: Compression = { algorithm: 'zstd', level: 1 };

/** Of a frame's own header, and of each record's. */
const HEADER_BYTES_MAX = 64;

export type LentFrame = {
  readonly bytes: Uint8Array;
  /** Nobody looks at the bytes any more; they may also be left to the collector. */
  giveBack(): void;
};

/** Empty without records. */
export function lendFrame(inputs: readonly FrameInput[]): LentFrame {
  if (inputs.length === 0) return { bytes: new Uint8Array(0), giveBack() {} };
  const target = memory.take(storedBytesMax(inputs));
  const lengthBytes = encodeFrame(inputs, COMPRESSION, target);
  const giveBack = () => memory.giveBack(target);
  if (lengthBytes >= target.byteLength / 4) {
    return { bytes: target.subarray(0, lengthBytes), giveBack };
  }
  // One that came out small does not hold so much memory until it is acknowledged.
  const bytes = target.slice(0, lengthBytes);
  giveBack();
  return { bytes, giveBack() {} };
}

/** Stays with the caller. */
export function frameOf(inputs: readonly FrameInput[]): Uint8Array {
  return lendFrame(inputs).bytes;
}

function storedBytesMax(inputs: readonly FrameInput[]): number {
  return inputs.reduce((sum, input) => {
    const content = input.kind === 'patch' ? input.patch : input.bytes;
    return sum + content.byteLength + HEADER_BYTES_MAX;
  }, HEADER_BYTES_MAX);
}
