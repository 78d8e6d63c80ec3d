/** Keeps a volume's profile from run to run, beside its tracker's log, under the same lock. */
import {
  type Env,
  FerryError,
  FormatError,
  hasCode,
  SharedRun,
  type Timer,
} from '../../core/index.ts';
import { TrackError } from '../errors.ts';
import type { Tracker } from '../tracker/index.ts';
import { AccessProfile, emptyParts } from './access-profile.ts';
import { PROFILE_SAVE_MS } from './limits.ts';
import { type Kept, laterBy, readProfile, writeProfile } from './profile-file.ts';

export type KeeperOptions = {
  /** The tracker's own, which is locked. */
  readonly directory: string;
  readonly volume: string;
  readonly sizeBytes: number;
  readonly tracker: Pick<Tracker, 'id' | 'began'>;
  /** It could not be kept; nothing rests on it. */
  readonly onTrouble: (error: unknown) => void;
};

/** Nothing but knowledge is lost with a profile: damage makes it begin anew, and is told. */
export class ProfileKeeper implements AsyncDisposable {
  readonly profile: AccessProfile;
  /** Why what was kept could not be taken up. */
  readonly lost: string | undefined;
  readonly #env: Env;
  readonly #options: KeeperOptions;
  readonly #saving = new SharedRun(() => this.#write());
  #savedCount: number;
  #timer: Timer | undefined;

  static async open(env: Env, options: KeeperOptions): Promise<ProfileKeeper> {
    try {
      return new ProfileKeeper(env, options, await taken(env, options));
    } catch (error) {
      if (!hasCode(error, 'TRACK_STATE')) throw error;
      return new ProfileKeeper(env, options, undefined, (error as Error).message);
    }
  }

  private constructor(env: Env, options: KeeperOptions, kept?: AccessProfile, lost?: string) {
    this.#env = env;
    this.#options = options;
    this.profile = kept ?? new AccessProfile(env.clock, emptyParts(options.sizeBytes));
    this.lost = lost;
    this.#savedCount = this.profile.requestCount;
    this.#keepSaving();
  }

  /** Durable when it settles, if anything was counted since the last time. */
  save(): Promise<void> {
    return this.#saving.join();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.cancel();
    await this.save().catch(this.#options.onTrouble);
    this.profile[Symbol.dispose]();
  }

  async #write(): Promise<void> {
    const { requestCount } = this.profile;
    if (requestCount === this.#savedCount) return;
    const { directory, volume, tracker } = this.#options;
    const wallMs = this.#env.clock.wallMs();
    const parts = this.profile.parts();
    await writeProfile(this.#env, directory, { volume, tracker: tracker.id, wallMs, parts });
    this.#savedCount = requestCount;
  }

  #keepSaving(): void {
    this.#timer = this.#env.clock.after(PROFILE_SAVE_MS, () => {
      this.save().catch(this.#options.onTrouble);
      this.#keepSaving();
    });
  }
}

/** Of a source that is another one than before, what was kept says nothing. */
async function taken(env: Env, options: KeeperOptions): Promise<AccessProfile | undefined> {
  const { directory, volume, sizeBytes, tracker } = options;
  const kept = await keptIn(env, { directory, volume, sizeBytes });
  if (kept === undefined) return undefined;
  if (kept.tracker !== tracker.id && tracker.began.reason === 'replaced') return undefined;
  return asOfNow(env, kept);
}

/**
 * The profile of a volume as it was kept, and as it is now; undefined if there is none. TRACK_STATE
 * if it is damaged. The caller disposes it.
 */
export async function profileIn(
  env: Env,
  place: { readonly directory: string; readonly volume: string },
): Promise<AccessProfile | undefined> {
  const kept = await keptIn(env, place);
  return kept && asOfNow(env, kept);
}

function asOfNow({ clock }: Env, { parts, wallMs }: Kept): AccessProfile {
  return new AccessProfile(clock, laterBy(parts, clock.wallMs() - wallMs));
}

async function keptIn(
  env: Env,
  place: { readonly directory: string; readonly volume: string; readonly sizeBytes?: number },
): Promise<Kept | undefined> {
  const { directory, volume, sizeBytes } = place;
  try {
    const kept = await readProfile(env, directory, sizeBytes);
    if (kept === undefined || kept.volume === volume) return kept;
    throw new FormatError(`it belongs to the volume ${kept.volume}`);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    const message = `the profile of ${volume} cannot be used: ${error.message}`;
    throw new TrackError('TRACK_STATE', message, {
      hint: 'The next export begins a new one; nothing else rests on it.',
      cause: error,
    });
  }
}
