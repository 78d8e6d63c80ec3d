/** What the accepting thread and its workers tell each other; everything is a structured clone. */
import { FerryError, type FileStat } from '../../core/index.ts';
import type { MemoryRegion } from '../../device/index.ts';
import { NbdError } from '../errors.ts';
import type { ServeTlsOptions } from '../tls.ts';
import type { DeviceMemory } from './guarded.ts';

/** How a worker gets at a device: its own descriptor of the same file, or the same memory. */
export type SharedSource =
  | {
      readonly kind: 'path';
      readonly path: string;
      readonly directIo: boolean;
      /** What the path named when the server began; another file there must not be served. */
      readonly identity: FileIdentity;
    }
  | { readonly kind: 'memory'; readonly name: string; readonly region: MemoryRegion };

export type FileIdentity = Pick<FileStat, 'device' | 'inode' | 'sizeBytes'>;

export type SharedExport = {
  readonly name: string;
  readonly description: string | undefined;
  readonly readOnly: boolean;
  readonly source: SharedSource;
  readonly memory: DeviceMemory;
};

export type WorkerStart = {
  readonly kind: 'start';
  readonly thread: number;
  readonly exports: readonly SharedExport[];
  readonly tls: ServeTlsOptions | undefined;
  readonly heldBytesMax: number;
  /** One word: how many sockets the worker has taken over. The others are still the sender's. */
  readonly adopted: SharedArrayBuffer;
  /** A worker before this one may have died with the last client. */
  readonly flushFirst: boolean;
};

export type ToWorker =
  | WorkerStart
  | {
      readonly kind: 'take';
      readonly id: number;
      readonly descriptor: number;
      readonly peer: string;
    }
  | { readonly kind: 'close'; readonly timeoutMs: number };

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'gone'; readonly id: number; readonly trouble: Failure | undefined }
  | { readonly kind: 'closed' };

/** Classes do not survive the channel: a failure travels as its parts. */
export type Failure = {
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string;
};

export function describe(error: unknown): Failure {
  if (error instanceof FerryError) {
    return { code: error.code, message: error.message, hint: error.hint };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: undefined, message, hint: 'This is a defect of Blockferry; report it.' };
}

/** With the code that it had, whatever its class was. */
export function failureOf({ code, message, hint }: Failure): FerryError {
  if (code === undefined) return new NbdError('NBD_THREAD', message, { hint });
  return new FerryError(code, message, { hint });
}
