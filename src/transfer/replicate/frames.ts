/** How frames are made while somebody waits for them, at either side. */
import {
  type Compression,
  checksumOfFrame,
  encodeFrame,
  type FrameInput,
  joinedChecksum,
} from '../../codec/index.ts';
import { crc32 } from '../../core/index.ts';
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

/** What a session sends, in one piece: `withHead` finds room for the head before the frame. */
export function messageOf(
  [head, frame]: readonly [Uint8Array, Uint8Array],
  withHead: ((head: Uint8Array) => Uint8Array | undefined) | undefined,
) {
  if (frame.byteLength === 0) return { parts: [head] };
  const lastChecksum = checksumOfFrame(frame);
  const whole = withHead?.(head);
  if (whole === undefined) return { parts: [head, frame], lastChecksum };
  const checksum = joinedChecksum(crc32(head), lastChecksum, frame.byteLength);
  return { parts: [whole], lastChecksum: checksum, hasRoom: true };
}

function storedBytesMax(inputs: readonly FrameInput[]): number {
  return inputs.reduce((sum, input) => {
    const content = input.kind === 'patch' ? input.patch : input.bytes;
    return sum + content.byteLength + HEADER_BYTES_MAX;
  }, HEADER_BYTES_MAX);
}
