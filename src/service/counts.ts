/** Counts: what a provider has done and refused since it began, told by its events. */
import { FerryError } from '../core/index.ts';
import type { Tally } from '../transfer/replicate/index.ts';
import type { Traffic } from '../wire/index.ts';
import type { ServerEvent } from './replica-server.ts';

/** What one volume has received in epochs that were committed. */
export type VolumeCounts = { epochs: number; snapshots: number } & Tally;

/** Codes are our own, and few; names of volumes are bounded by quotas. */
export class Counts {
  /** Connections that were not let in, and failures of what was, by their codes. */
  readonly refused = new Map<string, number>();
  readonly errors = new Map<string, number>();
  /** By tenant, then by volume. */
  readonly volumes = new Map<string, Map<string, VolumeCounts>>();
  /** Volumes whose last attempt at something failed, and why. */
  readonly failing = new Map<string, string>();
  paired = 0;
  /** What sessions that have ended had carried, by agent. */
  readonly carried = new Map<string, Carried>();

  add(event: ServerEvent): void {
    if (event.event === 'refused') grow(this.refused, codeOf(event.error));
    else if (event.event === 'paired') this.paired += 1;
    else if (event.event === 'trouble') grow(this.errors, codeOf(event.error));
    else if (event.event === 'ended') {
      this.carried.set(event.agent, sum(this.carried.get(event.agent), event.traffic));
      if (event.error !== undefined) grow(this.errors, codeOf(event.error));
    } else if (event.event === 'failed') {
      grow(this.errors, codeOf(event.error));
      if (event.volume === undefined) return;
      this.failing.set(nameOf(event.tenant, event.volume), codeOf(event.error));
    } else if (event.event === 'epoch') {
      const counts = this.#of(event.tenant, event.volume);
      counts.epochs += 1;
      for (const key of TALLIED) counts[key] += event.tally[key];
      this.failing.delete(nameOf(event.tenant, event.volume));
    } else if (event.event === 'snapshot') {
      this.#of(event.tenant, event.volume).snapshots += 1;
      this.failing.delete(nameOf(event.tenant, event.volume));
    }
  }

  #of(tenant: string, volume: string): VolumeCounts {
    const volumes = this.volumes.get(tenant) ?? new Map<string, VolumeCounts>();
    this.volumes.set(tenant, volumes);
    const counts = volumes.get(volume) ?? {
      ...{ epochs: 0, snapshots: 0, dataBytes: 0, patchedBytes: 0 },
      ...{ knownBytes: 0, zeroBytes: 0, frameBytes: 0 },
    };
    volumes.set(volume, counts);
    return counts;
  }
}

export type Carried = Pick<Traffic, 'receivedBytes' | 'resentBytes'>;

export function sum(before: Carried | undefined, { receivedBytes, resentBytes }: Carried): Carried {
  if (before === undefined) return { receivedBytes, resentBytes };
  const received = { ...before.receivedBytes };
  for (const kind of ['control', 'tls', 'udp'] as const) {
    const bytes = (received[kind] ?? 0) + (receivedBytes[kind] ?? 0);
    if (bytes > 0) received[kind] = bytes;
  }
  return { receivedBytes: received, resentBytes: before.resentBytes + resentBytes };
}

const TALLIED = ['dataBytes', 'patchedBytes', 'knownBytes', 'zeroBytes', 'frameBytes'] as const;

/** As NBD calls it, and messages: the first tenant's volumes by their names alone. */
export function nameOf(tenant: string, volume: string): string {
  return tenant === '' ? volume : `${tenant}/${volume}`;
}

/** What the other side said, if it was that which ended something. */
export function codeOf(error: unknown): string {
  if (!(error instanceof FerryError)) return 'INTERNAL';
  return error.code;
}

function grow(counts: Map<string, number>, code: string): void {
  counts.set(code, (counts.get(code) ?? 0) + 1);
}
