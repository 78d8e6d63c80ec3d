/** An export of some server as a Device. */
import {
  type Answer,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  FAST_ZERO,
  FUA,
  NO_HOLE,
} from '../device/index.ts';
import type { Terms } from './client-handshake.ts';
import {
  BASE_ALLOCATION,
  COMMAND_BLOCK_STATUS,
  COMMAND_CACHE,
  COMMAND_READ,
  COMMAND_TRIM,
  COMMAND_WRITE,
  COMMAND_WRITE_ZEROES,
  FLAG_FAST_ZERO,
  FLAG_FUA,
  FLAG_NO_HOLE,
  FLAG_REQ_ONE,
  STATUS_HOLE,
  STATUS_ZERO,
  TRANSMISSION_CAN_MULTI_CONN,
  TRANSMISSION_READ_ONLY,
  TRANSMISSION_ROTATIONAL,
  TRANSMISSION_SEND_CACHE,
  TRANSMISSION_SEND_DF,
  TRANSMISSION_SEND_FAST_ZERO,
  TRANSMISSION_SEND_FLUSH,
  TRANSMISSION_SEND_FUA,
  TRANSMISSION_SEND_TRIM,
  TRANSMISSION_SEND_WRITE_ZEROES,
} from './constants.ts';
import type { StatusExtent } from './exports.ts';
import type { Lanes } from './lanes.ts';
import { EFFECT_BYTES_MAX } from './limits.ts';
import { Operation, type OperationOptions } from './operation.ts';
import { STYLE_EXTENDED } from './reply-codec.ts';

export type NbdFeatures = Readonly<
  Record<
    'readOnly' | 'flush' | 'fua' | 'trim' | 'zero' | 'fastZero' | 'cache' | 'df' | 'multiConn',
    boolean
  >
>;

/** Disposing it says goodbye to the server. */
export interface NbdDevice extends Device {
  readonly description: string;
  /** The meta contexts that the server granted. */
  readonly contexts: readonly string[];
  /** What was agreed on. */
  readonly replies: 'simple' | 'structured' | 'extended';
  readonly tls: boolean;
  /** What the server says that it can do, whatever this device makes of it. */
  readonly features: NbdFeatures;
  /** Asks the server to have the range at hand; nothing if it does not take such wishes. */
  cache(lengthBytes: number, offsetBytes: number): Answer;
  /** Describes a prefix of the range in a granted context; at least one extent. */
  status(
    context: string,
    lengthBytes: number,
    offsetBytes: number,
  ): Promise<readonly StatusExtent[]>;
}

/** By style, see reply-codec.ts. */
export const styles = ['simple', 'structured', 'extended'] as const;

type ClientOptions = {
  readonly exportName: string;
  readonly readOnly: boolean;
  readonly tls: boolean;
};

/** `connect` makes it, with connections that agreed on `terms`. */
export class Client implements NbdDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly: boolean;
  readonly hints: DeviceHints;
  readonly durable: boolean;
  readonly description: string;
  readonly contexts: readonly string[];
  readonly replies: 'simple' | 'structured' | 'extended';
  readonly tls: boolean;
  readonly features: NbdFeatures;
  readonly #lanes: Lanes;
  readonly #terms: Terms;
  #closing: Promise<void> | undefined;

  constructor(
    lanes: Lanes,
    terms: Terms,
    blockSizes: BlockSizes,
    { exportName, readOnly, tls }: ClientOptions,
  ) {
    this.#lanes = lanes;
    this.#terms = terms;
    this.name = `nbd:${exportName}`;
    this.sizeBytes = terms.sizeBytes;
    this.blockSizes = blockSizes;
    this.readOnly = readOnly || this.#can(TRANSMISSION_READ_ONLY);
    this.durable = this.#can(TRANSMISSION_SEND_FLUSH);
    this.description = terms.description;
    this.contexts = [...terms.contexts.keys()];
    this.replies = styles[terms.style]!;
    this.tls = tls;
    this.features = {
      readOnly: this.#can(TRANSMISSION_READ_ONLY),
      flush: this.durable,
      fua: this.#can(TRANSMISSION_SEND_FUA),
      trim: this.#can(TRANSMISSION_SEND_TRIM),
      zero: this.#can(TRANSMISSION_SEND_WRITE_ZEROES),
      fastZero: this.#can(TRANSMISSION_SEND_FAST_ZERO),
      cache: this.#can(TRANSMISSION_SEND_CACHE),
      df: this.#can(TRANSMISSION_SEND_DF),
      multiConn: this.#can(TRANSMISSION_CAN_MULTI_CONN),
    };
    this.hints = {
      rotational: this.#can(TRANSMISSION_ROTATIONAL),
      fastZero: this.#can(TRANSMISSION_SEND_FAST_ZERO),
    };
  }

  #can(flag: number): boolean {
    return (this.#terms.flags & flag) !== 0;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    return this.#inParts(target.byteLength, this.blockSizes.maximumBytes, (at, lengthBytes) =>
      this.#submit({
        command: COMMAND_READ,
        flags: 0,
        offsetBytes: offsetBytes + at,
        lengthBytes,
        target: target.subarray(at, at + lengthBytes),
      }),
    );
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
    const wire = this.#fuaFlag(flags);
    const written = this.#inParts(
      source.byteLength,
      this.blockSizes.maximumBytes,
      (at, lengthBytes) =>
        this.#submit({
          command: COMMAND_WRITE,
          flags: wire,
          offsetBytes: offsetBytes + at,
          lengthBytes,
          source: source.subarray(at, at + lengthBytes),
        }),
    );
    return this.#thenForce(written, flags);
  }

  async flush(): Promise<void> {
    if (this.#lanes.hasFailedFlush) throw this.#flushError(undefined);
    if (!this.durable) return;
    try {
      await this.#lanes.flush();
    } catch (error) {
      throw this.#flushError(error);
    }
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
    const isFast = (flags & FAST_ZERO) !== 0;
    if (isFast && !this.#can(TRANSMISSION_SEND_FAST_ZERO)) {
      throw new DeviceError('DEVICE_UNSUPPORTED', `${this.name} has no fast zeroes`, {
        hint: 'Write zeroes instead.',
      });
    }
    if (!this.#can(TRANSMISSION_SEND_WRITE_ZEROES)) {
      return this.#writeZeroes(lengthBytes, offsetBytes, flags);
    }
    const keep = (flags & NO_HOLE) !== 0 ? FLAG_NO_HOLE : 0;
    const wire = this.#fuaFlag(flags) | keep | (isFast ? FLAG_FAST_ZERO : 0);
    const zeroed = this.#effect(COMMAND_WRITE_ZEROES, wire, lengthBytes, offsetBytes);
    return this.#thenForce(zeroed, flags);
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
    if (!this.#can(TRANSMISSION_SEND_TRIM)) return undefined;
    const trimmed = this.#effect(COMMAND_TRIM, this.#fuaFlag(flags), lengthBytes, offsetBytes);
    return this.#thenForce(trimmed, flags);
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    if (lengthBytes === 0) return [];
    if (!this.#terms.contexts.has(BASE_ALLOCATION)) {
      return [{ offsetBytes, lengthBytes, kind: 'data' }];
    }
    const statuses = await this.#query(BASE_ALLOCATION, lengthBytes, offsetBytes, limit === 1);
    const extents: DeviceExtent[] = [];
    let at = offsetBytes;
    for (const status of statuses) {
      const partBytes = Math.min(status.lengthBytes, offsetBytes + lengthBytes - at);
      if (partBytes <= 0 || extents.length >= limit) break;
      extents.push({ offsetBytes: at, lengthBytes: partBytes, kind: kindOf(status.flags) });
      at += partBytes;
    }
    return extents;
  }

  cache(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    if (!this.#can(TRANSMISSION_SEND_CACHE)) return undefined;
    return this.#effect(COMMAND_CACHE, 0, lengthBytes, offsetBytes);
  }

  async status(
    context: string,
    lengthBytes: number,
    offsetBytes: number,
  ): Promise<readonly StatusExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    return await this.#query(context, lengthBytes, offsetBytes, false);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#lanes.close();
    return this.#closing;
  }

  async #query(
    context: string,
    lengthBytes: number,
    offsetBytes: number,
    isOne: boolean,
  ): Promise<readonly StatusExtent[]> {
    const id = this.#terms.contexts.get(context);
    if (id === undefined) {
      throw new DeviceError('DEVICE_UNSUPPORTED', `${this.name} has no context ${context}`, {
        hint: 'Look at the contexts that the server offers.',
      });
    }
    const operation = new Operation({
      command: COMMAND_BLOCK_STATUS,
      flags: isOne ? FLAG_REQ_ONE : 0,
      offsetBytes,
      lengthBytes: Math.min(lengthBytes, this.#effectBytesMax()),
    });
    await this.#lanes.submit(operation);
    const extents = operation.statuses.get(id);
    if (extents !== undefined) return extents;
    throw new DeviceError('DEVICE_IO', `${this.name} said nothing about ${context}`, {
      hint: 'The server is faulty.',
    });
  }

  #submit(options: OperationOptions): Promise<void> {
    return this.#lanes.submit(new Operation(options));
  }

  #fuaFlag(flags: number): number {
    return (flags & FUA) !== 0 && this.#can(TRANSMISSION_SEND_FUA) ? FLAG_FUA : 0;
  }

  /** A server that cannot force one write can at least force all. */
  #thenForce(done: Promise<void>, flags: number): Promise<void> {
    if ((flags & FUA) === 0 || this.#can(TRANSMISSION_SEND_FUA)) return done;
    return done.then(() => this.flush());
  }

  #effectBytesMax(): number {
    return this.#terms.style === STYLE_EXTENDED ? Number.MAX_SAFE_INTEGER : EFFECT_BYTES_MAX;
  }

  #effect(command: number, flags: number, lengthBytes: number, offsetBytes: number): Promise<void> {
    return this.#inParts(lengthBytes, this.#effectBytesMax(), (at, partBytes) =>
      this.#submit({ command, flags, offsetBytes: offsetBytes + at, lengthBytes: partBytes }),
    );
  }

  async #writeZeroes(lengthBytes: number, offsetBytes: number, flags: number): Promise<void> {
    const stepBytes = Math.min(this.blockSizes.maximumBytes, 1024 * 1024);
    const zeroes = new Uint8Array(Math.min(stepBytes, lengthBytes));
    for (let at = 0; at < lengthBytes; at += stepBytes) {
      const partBytes = Math.min(stepBytes, lengthBytes - at);
      await this.write(zeroes.subarray(0, partBytes), offsetBytes + at, flags & FUA);
    }
  }

  /** All parts are in flight together; the call settles when the last one has. */
  async #inParts(
    lengthBytes: number,
    stepBytes: number,
    act: (at: number, partBytes: number) => Promise<void>,
  ): Promise<void> {
    if (lengthBytes === 0) return;
    if (lengthBytes <= stepBytes) {
      await act(0, lengthBytes);
      return;
    }
    const parts: Promise<void>[] = [];
    for (let at = 0; at < lengthBytes; at += stepBytes) {
      parts.push(act(at, Math.min(stepBytes, lengthBytes - at)));
    }
    for (const part of await Promise.allSettled(parts)) {
      if (part.status === 'rejected') throw part.reason;
    }
  }

  #flushError(cause: unknown): DeviceError {
    return new DeviceError('DEVICE_FLUSH_FAILED', `${this.name}: a flush failed`, {
      hint: 'Writes since the last good flush may be lost; open the device again.',
      cause,
    });
  }
}

/** A hole that may read as anything is data as far as a reader is concerned. */
function kindOf(flags: number): DeviceExtent['kind'] {
  if ((flags & STATUS_ZERO) === 0) return 'data';
  return (flags & STATUS_HOLE) !== 0 ? 'hole' : 'zero';
}
