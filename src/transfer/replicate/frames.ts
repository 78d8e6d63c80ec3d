/** Frames as they are made while somebody waits for them, at either side. */
import {
  type Compression,
  encodeFrame,
  FRAME_STORED_MAX,
  type FrameInput,
} from '../../codec/index.ts';

/** New and incompressible data must not wait for the codec. */
const COMPRESSION: Compression = { algorithm: 'zstd', level: 1 };

let memory = new Uint8Array(0);

/** Empty without records. */
export function frameOf(inputs: readonly FrameInput[]): Uint8Array {
  if (inputs.length === 0) return new Uint8Array(0);
  if (memory.byteLength === 0) memory = new Uint8Array(FRAME_STORED_MAX);
  return memory.slice(0, encodeFrame(inputs, COMPRESSION, memory));
}
