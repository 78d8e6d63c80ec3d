/** Whom an audit found to have lied about a volume, and how that is told. */
import { type AuditReport, auditWords, Trust } from '../track/index.ts';
import type { ChangesResult } from '../transfer/backup/index.ts';
import type { Context } from './context.ts';
import type { Fields, Output } from './output.ts';
import { snapshotName, stateFolder } from './repository.ts';

/** Untold places that are named; `--json` has more. */
const PLACES_SHOWN_MAX = 5;

export function trustOf(context: Context, volume: string): Promise<Trust> {
  return Trust.open(context.env, stateFolder(context, 'trust'), volume);
}

export function warnOfTrust(output: Output, result: ChangesResult): void {
  const { untoldBy, audit, believedAgain, snapshot } = result;
  if (untoldBy !== undefined && audit !== undefined) {
    output.warn(
      [
        `${untoldBy} had not told of all changes: ${auditWords(audit)} (${placesOf(audit)})`,
        `the whole volume was compared, and ${snapshotName(snapshot)} is right; ${untoldBy} is`,
        `not believed for ${snapshot.volume} until a comparison finds nothing untold`,
      ].join('\n  '),
    );
  }
  for (const source of believedAgain) {
    output.warn(`${source} has told of all changes, and is believed again for ${snapshot.volume}`);
  }
}

/** For programs. */
export function auditFields({
  audit,
  untoldBy,
}: Pick<ChangesResult, 'audit' | 'untoldBy'>): Fields {
  return { audit: audit ?? null, untoldBy: untoldBy ?? null };
}

function placesOf({ untold, untoldCount }: AuditReport): string {
  const places = untold.slice(0, PLACES_SHOWN_MAX).map(({ offsetBytes }) => `byte ${offsetBytes}`);
  const rest = untoldCount - places.length;
  return rest > 0 ? `${places.join(', ')} and ${rest} more` : places.join(', ');
}
