/**
 * Recordings of connections: what went over a stream in both directions, byte for byte and with its
 * time, to be looked at or played again. They hold tokens and data: keep them as such.
 */
import {
  ByteReader,
  ByteWriter,
  type Clock,
  FormatError,
  type Stream,
  type StreamHandlers,
} from '../core/index.ts';
import { decoding, limitError } from './errors.ts';

/** `FRWR`, little-endian. */
const MAGIC = 0x52575246;
const VERSION = 1;
/** One chunk of a stream; longer ones are cut. */
const CHUNK_BYTES_MAX = 1024 * 1024;

export const RECORDED_IN = 0;
export const RECORDED_OUT = 1;
/** The stream ended: an empty chunk. */
export const RECORDED_END = 2;

export type RecordedChunk = {
  readonly kind: number;
  /** Since the recording began. */
  readonly atMs: number;
  readonly bytes: Uint8Array;
};

export type RecordingOptions = {
  readonly clock: Clock;
  /** Takes what is to be appended to the recording; the bytes are the sink's. */
  readonly append: (bytes: Uint8Array) => void;
  /** Nothing more is appended than this. */
  readonly bytesMax: number;
};

/** The same stream; all that goes through it is appended to the recording. */
export function recorded(stream: Stream, options: RecordingOptions): Stream {
  const recorder = new Recorder(options);
  const tap = (handlers: StreamHandlers): StreamHandlers => ({
    onBytes(view) {
      recorder.add(RECORDED_IN, view);
      handlers.onBytes(view);
    },
    onDrained: () => handlers.onDrained(),
    onEnd: () => handlers.onEnd(),
    onClosed(error) {
      recorder.add(RECORDED_END, new Uint8Array(0));
      handlers.onClosed(error);
    },
  });
  // All but what is recorded is the stream's own: its peer's certificate and keys too.
  return new Proxy(stream, {
    get(target, name) {
      if (name === 'start') return (handlers: StreamHandlers) => target.start(tap(handlers));
      if (name === 'writeNow') return undefined;
      if (name === 'write') {
        return (buffers: readonly Uint8Array[], written?: () => void) => {
          for (const bytes of buffers) recorder.add(RECORDED_OUT, bytes);
          return target.write(buffers, written);
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

class Recorder {
  readonly #options: RecordingOptions;
  readonly #startMs: number;
  #leftBytes: number;

  constructor(options: RecordingOptions) {
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
    this.#leftBytes = options.bytesMax;
    const head = new ByteWriter(8);
    head.u32(MAGIC);
    head.u16(VERSION);
    this.#append(head.view());
  }

  add(kind: number, bytes: Uint8Array): void {
    let at = 0;
    do {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES_MAX);
      at += CHUNK_BYTES_MAX;
      const writer = new ByteWriter(24 + chunk.byteLength);
      writer.u8(kind);
      writer.varint(Math.floor(this.#options.clock.monotonicMs() - this.#startMs));
      writer.varint(chunk.byteLength);
      writer.put(chunk);
      this.#append(writer.view());
    } while (at < bytes.byteLength);
  }

  /** A chunk that does not fit any more ends the recording. */
  #append(bytes: Uint8Array): void {
    if (bytes.byteLength > this.#leftBytes) {
      this.#leftBytes = 0;
      return;
    }
    this.#leftBytes -= bytes.byteLength;
    this.#options.append(bytes);
  }
}

/** The chunks of a recording, in order; views of `bytes`. */
export function readRecording(bytes: Uint8Array): RecordedChunk[] {
  return decoding('a recording', () => {
    const reader = new ByteReader(bytes);
    if (reader.u32() !== MAGIC) throw new FormatError('this is no recording');
    const version = reader.u16();
    if (version !== VERSION) {
      throw limitError(`a recording of version ${version}; version ${VERSION} is known`);
    }
    const chunks: RecordedChunk[] = [];
    while (reader.remaining > 0) {
      const kind = reader.u8();
      if (kind > RECORDED_END) throw new FormatError(`a chunk of kind ${kind}`);
      const atMs = reader.varint();
      const lengthBytes = reader.count(CHUNK_BYTES_MAX, 'the length of a chunk');
      chunks.push({ kind, atMs, bytes: reader.take(lengthBytes) });
    }
    return chunks;
  });
}

/**
 * Plays the peer's part of a recording to whoever starts the stream: each chunk as soon as as many
 * bytes have come back as when it was recorded.
 */
export function played(chunks: readonly RecordedChunk[], clock: Clock): Stream {
  let handlers: StreamHandlers | undefined;
  let gotBytes = 0;
  let wantedBytes = 0;
  let next = 0;
  let isOver = false;
  const play = (): void => {
    while (handlers !== undefined && !isOver && next < chunks.length) {
      const { kind, bytes } = chunks[next]!;
      if (kind === RECORDED_IN && gotBytes < wantedBytes) return;
      next += 1;
      if (kind === RECORDED_IN) handlers.onBytes(bytes.slice());
      else if (kind === RECORDED_OUT) wantedBytes += bytes.byteLength;
      else close();
    }
  };
  const close = (): void => {
    if (isOver) return;
    isOver = true;
    clock.after(0, () => handlers?.onClosed(undefined));
  };
  return {
    peer: 'a recording',
    queuedBytes: 0,
    start(given) {
      handlers = given;
      clock.after(0, play);
    },
    write(buffers, written) {
      for (const { byteLength } of buffers) gotBytes += byteLength;
      clock.after(0, () => {
        written?.();
        play();
      });
      return true;
    },
    pause() {},
    resume() {},
    end: close,
    destroy: close,
  };
}
