/** Puts a tracker in front of a source, and a control socket beside it. */
import { dirname } from 'node:path';
import type { Env } from '../../core/index.ts';
import { type Device, type Permit, WriteGate } from '../../device/index.ts';
import {
  type Identity,
  ProfileKeeper,
  type TrackError,
  type TrackedDevice,
  Tracker,
  tracked,
} from '../../track/index.ts';
import { ControlServer } from './control-server.ts';
import { controlSocket, identityOf, trackerDirectory } from './places.ts';

export type TrackedExportOptions = {
  readonly base: Device;
  readonly volume: string;
  /** The path of the source; undefined for what has none. */
  readonly sourcePath: string | undefined;
  readonly origin: string;
  readonly stateDirectory: string;
  /** What may be kept aside for a moment that is being read. */
  readonly roomBytesMax: number;
  /** Makes a directory, with all above it, for the owner alone. */
  readonly makeDirectory: (path: string) => Promise<void>;
  /** While it says so, writes wait. */
  readonly permit?: Permit;
  /** How it stands with its providers, for those who ask. */
  readonly providers?: () => readonly unknown[];
  /** Marks cannot be kept any more: the device goes on, and is not tracked. */
  readonly onLost: (error: TrackError) => void;
  readonly onTrouble: (what: string, error: unknown) => void;
};

/** Disposed after the last client is gone; flushes, and keeps the exact marks. */
export interface TrackedExport extends AsyncDisposable {
  readonly device: TrackedDevice;
  /** Through which all writes go: it closes, or refuses them. */
  readonly gate: WriteGate;
  readonly tracker: Tracker;
  /** After a crash: so many regions count as changed as a whole. */
  readonly unsureRegions: number;
  /** What the tracker cannot see of this kind of source, for people. */
  readonly whyNotVouched: string | undefined;
  /** Why the profile of accesses begins anew, if there was one. */
  readonly profileLost: string | undefined;
}

/** TRACK_BUSY if the volume is exported already. Borrows `base`. */
export async function trackedExport(
  env: Env,
  options: TrackedExportOptions,
): Promise<TrackedExport> {
  const { base, volume, sourcePath, stateDirectory, makeDirectory, onLost } = options;
  const directory = trackerDirectory(stateDirectory, volume);
  await makeDirectory(directory);
  const path = controlSocket(stateDirectory, volume);
  await makeDirectory(dirname(path));
  const identify = () => identityOf(env, sourcePath);
  const { sizeBytes } = base;
  const tracker = await Tracker.open(env, { directory, volume, sizeBytes, identify });
  let keeper: ProfileKeeper | undefined;
  try {
    const { origin, roomBytesMax, onTrouble, permit, providers = () => [] } = options;
    const kept = await ProfileKeeper.open(env, {
      ...{ directory, volume, sizeBytes, tracker },
      onTrouble: (error) => onTrouble('profile', error),
    });
    keeper = kept;
    const gate = new WriteGate(base, permit);
    const device = tracked({ base: gate, tracker, profile: kept.profile, onLost });
    const source = await identify();
    const control = await ControlServer.start(env, {
      ...{ path, device, source, origin, directory, roomBytesMax, onTrouble },
      saveProfile: () => kept.save(),
      refuse: (error) => gate.refuse(error),
      refusal: () => gate.refusal,
      providers,
    });
    return {
      device,
      gate,
      tracker,
      unsureRegions: tracker.unsureRegions,
      whyNotVouched: whyNotVouched(source?.kind),
      profileLost: kept.lost,
      async [Symbol.asyncDispose]() {
        await control[Symbol.asyncDispose]();
        await kept[Symbol.asyncDispose]();
        try {
          await base.flush();
        } finally {
          await tracker[Symbol.asyncDispose]();
        }
      },
    };
  } catch (error) {
    await keeper?.[Symbol.asyncDispose]();
    await tracker[Symbol.asyncDispose]();
    throw error;
  }
}

function whyNotVouched(kind: Identity['kind'] | undefined): string | undefined {
  if (kind === 'file') return undefined;
  const what = kind === 'block-device' ? 'a block device' : 'this source';
  return `what others write to ${what} beside this export is not seen`;
}
