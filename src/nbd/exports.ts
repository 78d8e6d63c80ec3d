/** What a server offers, and what all connections to one device share. */
import type { Answer, BlockSizes, Device } from '../device/index.ts';
import { STATUS_HOLE, STATUS_ZERO } from './constants.ts';
import { dirtyContexts } from './dirty-context.ts';
import { fitted } from './fitted.ts';
import { PAYLOAD_BYTES_MAX } from './limits.ts';
import { RangeLock } from './range-lock.ts';

/** A run of bytes with one status; what the bits mean is the context's to say. */
export type StatusExtent = { readonly lengthBytes: number; readonly flags: number };

/**
 * A way to describe blocks, offered beside `base:allocation` and the `ferry:dirty/<epoch>` of a
 * device that tracks its changes.
 */
export interface MetaContext {
  readonly name: string;
  /** Describes a prefix of the range, like a device's `extents`: at least one, at most `limit`. */
  status(lengthBytes: number, offsetBytes: number, limit: number): Answer<readonly StatusExtent[]>;
}

/** One name that clients can open. The server borrows the device: it never disposes it. */
export interface Export {
  readonly device: Device;
  /** For people, at most 4,096 bytes. */
  readonly description?: string;
  /** Refuses every change even if the device would take it. */
  readonly readOnly?: boolean;
  readonly contexts?: readonly MetaContext[];
  /** What a later connection finds may differ: clients are not told that they may open several. */
  readonly isMomentary?: boolean;
  /** For what `find` opened for one connection alone: called once, when that has ended. */
  close?(): Promise<void>;
}

/** Where exports come from when they are not a fixed map. An empty name means the default. */
export interface ExportSource {
  /** Called once per client that asks, so that something can be opened for it. */
  find(name: string): Answer<Export | Device | undefined>;
  list(): Answer<readonly string[]>;
}

export type Exports = ReadonlyMap<string, Export | Device> | ExportSource;

/** A map with a single entry serves it as the default too. */
export function exportSource(exports: Exports): ExportSource {
  if (!(exports instanceof Map)) return exports as ExportSource;
  return {
    find(name) {
      const found = exports.get(name);
      if (found !== undefined || name !== '' || exports.size !== 1) return found;
      return exports.values().next().value;
    },
    list: () => [...exports.keys()],
  };
}

export function isDevice(value: Export | Device): value is Device {
  return 'blockSizes' in value;
}

/** `base:allocation`, answered by the device's extents. */
export function allocationContext(device: Device): MetaContext {
  const flagsOf = { data: 0, zero: STATUS_ZERO, hole: STATUS_HOLE | STATUS_ZERO } as const;
  return {
    name: 'base:allocation',
    status(lengthBytes, offsetBytes, limit) {
      const answer = device.extents(lengthBytes, offsetBytes, limit);
      const convert = (extents: Awaited<typeof answer>) =>
        extents.map((extent) => ({
          lengthBytes: extent.lengthBytes,
          flags: flagsOf[extent.kind],
        }));
      return answer instanceof Promise ? answer.then(convert) : convert(answer);
    },
  };
}

/**
 * Puts something between the connections and a device that takes any range already; told which of
 * the exports' devices it is.
 */
export type Guard = (fitting: Device, device: Device) => Device;

/** What every connection to one device has in common. */
export class SharedDevice {
  /** Takes requests of any alignment and length. */
  readonly device: Device;
  readonly lock: RangeLock;
  /** What clients are told, who may know better than to make the server read, change and write. */
  readonly announcedSizes: BlockSizes;
  clients = 0;

  constructor(device: Device, guard: Guard) {
    this.device = guard(fitted(device), device);
    this.announcedSizes = announced(device.blockSizes);
    this.lock = new RangeLock(device.blockSizes.minimumBytes);
  }
}

/** The protocol permits a minimum of at most 64 KiB and a preferred size of at least 512 bytes. */
function announced({ minimumBytes, preferredBytes, maximumBytes }: BlockSizes): BlockSizes {
  const minimum = Math.min(minimumBytes, 64 * 1024);
  const preferred = Math.min(Math.max(preferredBytes, minimum, 512), PAYLOAD_BYTES_MAX);
  return { minimumBytes: minimum, preferredBytes: preferred, maximumBytes };
}

/** An export as one client has opened it. */
export type OpenExport = {
  readonly name: string;
  readonly description: string;
  readonly readOnly: boolean;
  readonly shared: SharedDevice;
  readonly contexts: readonly MetaContext[];
  readonly isMomentary: boolean;
  close(): Promise<void>;
};

/** Finds exports and sees to it that one device has one lock, whatever its names. */
export class ExportTable {
  readonly source: ExportSource;
  readonly #shared = new WeakMap<Device, SharedDevice>();
  readonly #guard: Guard;

  constructor(exports: Exports, guard: Guard = (device) => device) {
    this.source = exportSource(exports);
    this.#guard = guard;
  }

  async open(name: string): Promise<OpenExport | undefined> {
    const found = await this.source.find(name);
    if (found === undefined) return undefined;
    const offer: Export = isDevice(found) ? { device: found } : found;
    let shared = this.#shared.get(offer.device);
    if (shared === undefined) {
      shared = new SharedDevice(offer.device, this.#guard);
      this.#shared.set(offer.device, shared);
    }
    return {
      name,
      description: offer.description ?? '',
      readOnly: offer.readOnly === true || offer.device.readOnly,
      shared,
      contexts: [
        allocationContext(shared.device),
        ...(offer.contexts ?? []),
        ...dirtyContexts(offer.device),
      ],
      isMomentary: offer.isMomentary === true,
      close: async () => offer.close?.(),
    };
  }
}

/** The exports as one client finds them: what it asks about is what it then opens. */
export class ClientExports {
  readonly #table: ExportTable;
  #last: OpenExport | undefined;

  constructor(table: ExportTable) {
    this.#table = table;
  }

  get source(): ExportSource {
    return this.#table.source;
  }

  async open(name: string): Promise<OpenExport | undefined> {
    if (this.#last?.name === name) return this.#last;
    await this.close();
    this.#last = await this.#table.open(name);
    return this.#last;
  }

  async close(): Promise<void> {
    const last = this.#last;
    this.#last = undefined;
    await last?.close();
  }
}
