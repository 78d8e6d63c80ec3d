/** How frames are made while somebody waits for them, at either side. */
import { type Compression, encodeFrame, type FrameInput } from '../../codec/index.ts';
import { memory } from './memory.ts';

/** New and incompressible data must not wait for the codec. */
export const COMPRESSION: Compression = { algorithm: 'zstd', level: 1 };

/** Of a frame's own header, and of each record's. */
const HEADER_BYTES_MAX = 64;

/** Empty without records. */
export function frameOf(inputs: readonly FrameInput[]): Uint8Array {
  if (inputs.length === 0) return new Uint8Array(0);
  const target = memory.take(storedBytesMax(inputs));
  const lengthBytes = encodeFrame(inputs, COMPRESSION, target);
  const bytes = target.slice(0, lengthBytes);
  memory.giveBack(target);
  return bytes;
}

function storedBytesMax(inputs: readonly FrameInput[]): number {
  return inputs.reduce((sum, input) => {
    const content = input.kind === 'patch' ? input.patch : input.bytes;
    return sum + content.byteLength + HEADER_BYTES_MAX;
  }, HEADER_BYTES_MAX);
}
