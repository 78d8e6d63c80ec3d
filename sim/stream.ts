/** Both ends of a simulated connection: bytes in seeded fragments, back pressure, breaks. */
import assert from 'node:assert/strict';
import { crc32, EnvError, type Stream, type StreamHandlers } from '../src/core/index.ts';
import type { Link } from './link.ts';
import type { SimulatedProcess } from './process.ts';

/** Bytes waiting for the kernel from which on `write` answers false. */
const QUEUED_BYTES_MAX = 256 * 1024;
/** What the kernels of both sides hold together; beyond it, a paused reader stops the writer. */
const ON_THE_WAY_BYTES_MAX = 64 * 1024;
const FRAGMENT_BYTES_MAX = 32 * 1024;
const DELAY_MS = 0.5;
/** Overwrites what was handed to `onBytes`, so that nobody gets away with keeping the view. */
const STALE_BYTE = 0xdb;

type ConnectionOptions = {
  readonly client: SimulatedProcess;
  readonly server: SimulatedProcess;
  readonly name: string;
  readonly breaksAfterBytes: number;
  /** What each way takes beside what is drawn. */
  readonly farMs: number;
  readonly link: Link;
};

export class Connection {
  readonly clientEnd: StreamEnd;
  readonly serverEnd: StreamEnd;
  readonly #name: string;
  readonly farMs: number;
  readonly link: Link;
  #bytesLeft: number;

  constructor({ client, server, name, breaksAfterBytes, farMs, link }: ConnectionOptions) {
    this.#name = name;
    this.farMs = farMs;
    this.link = link;
    this.#bytesLeft = breaksAfterBytes;
    this.clientEnd = new StreamEnd(client, `${name} client`, this);
    this.serverEnd = new StreamEnd(server, `${name} server`, this);
    this.clientEnd.join(this.serverEnd);
    this.serverEnd.join(this.clientEnd);
  }

  /** How much of a fragment still arrives; less than all of it breaks the connection. */
  spend(wantedBytes: number): number {
    const bytes = Math.min(wantedBytes, this.#bytesLeft);
    this.#bytesLeft -= bytes;
    return bytes;
  }

  break(): void {
    const error = new EnvError('ENV_CLOSED', `simulated network: ${this.#name} broke`, {
      hint: 'The simulated network breaks connections on demand.',
    });
    this.clientEnd.close(error);
    this.serverEnd.close(error);
  }
}

type Queued = { bytes: Uint8Array; readonly written: (() => void) | undefined };

export class StreamEnd implements Stream {
  readonly peer: string;
  readonly #process: SimulatedProcess;
  readonly #connection: Connection;
  #other: StreamEnd | undefined;
  #handlers: StreamHandlers | undefined;
  /** Written here, not yet taken by the kernel. */
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #full = false;
  /** Sent by the other end, not yet read here. */
  #arriving: Uint8Array[] = [];
  #arrivingBytes = 0;
  #paused = false;
  #ending = false;
  #endSent = false;
  #sendPlanned = false;
  #readPlanned = false;
  /** The last thing on its way to this end is the other's end. */
  #endArriving = false;
  #endSeen = false;
  #closed: { readonly error: EnvError | undefined } | undefined;

  constructor(process: SimulatedProcess, peer: string, connection: Connection) {
    this.peer = peer;
    this.#process = process;
    this.#connection = connection;
    process.atDeath(() => this.destroy());
  }

  join(other: StreamEnd): void {
    this.#other = other;
  }

  start(handlers: StreamHandlers): void {
    assert(this.#handlers === undefined, `${this.peer} was started twice`);
    this.#handlers = handlers;
    this.#planRead();
    if (this.#closed !== undefined) this.#planClosed();
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  write(buffers: readonly Uint8Array[], written?: () => void): boolean {
    if (this.#closed !== undefined || this.#ending) return false;
    for (const [index, bytes] of buffers.entries()) {
      const last = index === buffers.length - 1;
      this.#queue.push({ bytes, written: this.#checked(bytes, last ? written : undefined) });
      this.#queuedBytes += bytes.byteLength;
    }
    if (buffers.length === 0 && written !== undefined) {
      this.#queue.push({ bytes: new Uint8Array(0), written });
    }
    this.#planSend();
    this.#full ||= this.#queuedBytes >= QUEUED_BYTES_MAX;
    return !this.#full;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#planRead();
  }

  end(): void {
    this.#ending = true;
    this.#planSend();
  }

  destroy(): void {
    if (this.#closed !== undefined) return;
    this.close(undefined);
    const other = this.#other!;
    // What the kernel had taken may still arrive, or a reset overtakes it.
    const isInOrder = this.#process.draws().chance(0.5);
    this.#connection.link.pass(() => (isInOrder ? other.#endArrives() : this.#connection.break()));
  }

  close(error: EnvError | undefined): void {
    if (this.#closed !== undefined) return;
    this.#closed = { error };
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#arriving = [];
    if (this.#handlers !== undefined) this.#planClosed();
  }

  /** A buffer that was given away must not change until the kernel has it. */
  #checked(bytes: Uint8Array, written: (() => void) | undefined): () => void {
    const checksum = crc32(bytes);
    return () => {
      if (crc32(bytes) !== checksum) {
        this.#process.misuse(`a buffer written to ${this.peer} was changed before it was sent`);
      }
      written?.();
    };
  }

  #planSend(): void {
    if (this.#sendPlanned || this.#closed !== undefined) return;
    if (this.#queue.length === 0 && (!this.#ending || this.#endSent)) return;
    if (this.#other!.#arrivingBytes >= ON_THE_WAY_BYTES_MAX) return;
    this.#sendPlanned = true;
    this.#later('sends', () => {
      this.#connection.link.pass(() => {
        this.#sendPlanned = false;
        if (this.#closed === undefined) this.#send();
      });
    });
  }

  #send(): void {
    const other = this.#other!;
    if (other.#closed !== undefined) {
      if (this.#queue.length > 0) this.#connection.break();
      else this.#sentEnd();
      return;
    }
    const entry = this.#queue[0];
    if (entry === undefined) {
      this.#sentEnd();
      return;
    }
    const sizeBytes = 1 + this.#process.draws().below(FRAGMENT_BYTES_MAX);
    const fragment = new Uint8Array(entry.bytes.subarray(0, sizeBytes));
    entry.bytes = entry.bytes.subarray(fragment.byteLength);
    this.#queuedBytes -= fragment.byteLength;
    other.#arrives(fragment);
    if (entry.bytes.byteLength === 0) {
      this.#queue.shift();
      entry.written?.();
    }
    if (this.#full && this.#queuedBytes === 0) {
      this.#full = false;
      this.#handlers?.onDrained();
    }
    this.#planSend();
  }

  #sentEnd(): void {
    this.#endSent = true;
    this.#other!.#endArrives();
    this.#closeIfOver();
  }

  #arrives(fragment: Uint8Array): void {
    if (fragment.byteLength === 0) return;
    this.#arriving.push(fragment);
    this.#arrivingBytes += fragment.byteLength;
    this.#planRead();
  }

  #endArrives(): void {
    this.#endArriving = true;
    this.#planRead();
  }

  #planRead(): void {
    if (this.#readPlanned || this.#paused || this.#handlers === undefined) return;
    if (this.#closed !== undefined || this.#endSeen) return;
    if (this.#arriving.length === 0 && !this.#endArriving) return;
    this.#readPlanned = true;
    this.#later('reads', () => {
      this.#readPlanned = false;
      if (this.#closed === undefined && !this.#paused) this.#read(this.#handlers!);
    });
  }

  #read(handlers: StreamHandlers): void {
    const fragment = this.#arriving.shift();
    if (fragment === undefined) {
      this.#endSeen = true;
      handlers.onEnd();
      this.#closeIfOver();
      return;
    }
    this.#arrivingBytes -= fragment.byteLength;
    const view = fragment.subarray(0, this.#connection.spend(fragment.byteLength));
    this.#process.trace(`${this.peer} gets ${view.byteLength} bytes, ${crc32(view)}`);
    if (view.byteLength > 0) handlers.onBytes(view);
    const broke = view.byteLength < fragment.byteLength;
    fragment.fill(STALE_BYTE);
    if (broke) this.#connection.break();
    this.#other!.#planSend();
    this.#planRead();
  }

  #closeIfOver(): void {
    if (this.#endSent && this.#endSeen) this.close(undefined);
  }

  #planClosed(): void {
    const { error } = this.#closed!;
    this.#later('is closed', () => this.#handlers!.onClosed(error));
  }

  #later(what: string, run: () => void): void {
    const delayMs = this.#connection.farMs + DELAY_MS * this.#process.draws().unit();
    this.#process.schedule(delayMs, `${this.peer} ${what}`, run);
  }
}
