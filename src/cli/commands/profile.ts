/** `ferry profile`: where a volume is read and written. */
import { resolve } from 'node:path';
import { checkVolumeName } from '../../store/index.ts';
import {
  type AccessProfile,
  HALF_LIFE_SECONDS,
  profileIn,
  type RegionAccess,
  TrackError,
} from '../../track/index.ts';
import { saveProfile, trackerDirectory } from '../../transfer/export/index.ts';
import { defaultVolumeName } from '../../transfer/index.ts';
import { runningOf } from '../backup-source.ts';
import type { Context } from '../context.ts';
import { formatDuration, formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { profileSpec } from '../table/serving.ts';
import { textTable } from '../text-table.ts';

/** Of the working set. */
const WINDOWS = [
  { seconds: 60, name: '1 min' },
  { seconds: 600, name: '10 min' },
  { seconds: 3600, name: '1 h' },
  { seconds: 86_400, name: '1 day' },
];
/** How far ahead the likelihood of a write looks. */
const AHEAD_SECONDS = 60;

export const run: Run<typeof profileSpec> = async (context, { volume: asked, top, by }) => {
  const { output } = context;
  const running = await runningOf(context, asked);
  if (running !== undefined) await saveProfile(context.env, running);
  const { volume, kept } = await keptProfile(context, running?.volume, asked);
  using profile = kept;
  const { regionBytes } = profile;
  const regions = profile.hottest(top, by).map((region) => ({
    ...region,
    writtenWithinMinute: profile.writtenWithin(region.offsetBytes / regionBytes, AHEAD_SECONDS),
  }));
  output.items('region', regions);
  const sums = {
    volume,
    isRunning: running !== undefined,
    regionBytes,
    halfLifeSeconds: HALF_LIFE_SECONDS,
    watchedSeconds: profile.watchedSeconds,
    ...profile.totals(),
    workingSet: WINDOWS.map(({ seconds }) => ({ seconds, ...profile.workingSet(seconds) })),
  };
  output.text(`${sumsText(sums)}\n`);
  if (regions.length > 0) output.text(tableOf(regions));
  output.summary({ ...sums, regions: regions.length }, '');
};

/** A running export's; else that of a volume, or of a file as its volume is called by default. */
async function keptProfile({ env, settings }: Context, running: string | undefined, asked: string) {
  const name = defaultVolumeName(asked);
  const names = running !== undefined ? [running] : asked.includes('/') ? [name] : [asked, name];
  for (const volume of names) {
    checkVolumeName(volume);
    const directory = trackerDirectory(resolve(settings.stateDirectory), volume);
    const kept = await profileIn(env, { directory, volume });
    if (kept !== undefined) return { volume, kept };
  }
  throw new TrackError('TRACK_STATE', `there is no profile of ${names[0]}`, {
    hint: 'Export it with --name VOL: what its clients read and write is counted then.',
  });
}

type Sums = ReturnType<AccessProfile['totals']> & {
  readonly volume: string;
  readonly isRunning: boolean;
  readonly watchedSeconds: number;
  readonly workingSet: readonly {
    readonly seconds: number;
    readonly accessedBytes: number;
    readonly writtenBytes: number;
  }[];
};

function sumsText(sums: Sums): string {
  const { volume, isRunning, watchedSeconds, workingSet } = sums;
  const sets = workingSet.map(({ accessedBytes, writtenBytes }, at) => {
    const sizes = `${formatSize(accessedBytes)} (${formatSize(writtenBytes)} of that written)`;
    return `  in use      within ${WINDOWS[at]!.name.padEnd(6)}  ${sizes}`;
  });
  const watched = `${formatDuration(watchedSeconds * 1000)}${isRunning ? '' : ', not now'}`;
  return [
    `${volume}: watched for ${watched}`,
    `  reads       ${sumText(sums.reads, sums.readBytes, sums.sequentialReadShare)}`,
    `  writes      ${sumText(sums.writes, sums.writtenBytes, sums.sequentialWriteShare)}`,
    ...sets,
  ].join('\n');
}

function sumText(count: number, bytes: number, sequentialShare: number): string {
  const sequential = `${(100 * sequentialShare).toFixed(0)} % sequential`;
  return `${countText(count)} of ${formatSize(Math.round(bytes))}, ${sequential}`;
}

type Row = RegionAccess & { readonly writtenWithinMinute: number };

function tableOf(regions: readonly Row[]): string {
  const titles = ['OFFSET', 'READS', 'WRITES', 'WRITE %', 'SEQ %', 'READ AGO', 'WRITTEN AGO'];
  const columns = [...titles, 'IN 1 MIN'].map((title) => ({ title, align: 'right' as const }));
  return textTable(
    columns,
    regions.map((region) => [
      String(region.offsetBytes),
      countText(region.reads, region.readsDoubt),
      countText(region.writes, region.writesDoubt),
      ((100 * region.writes) / (region.reads + region.writes)).toFixed(0),
      (100 * region.sequentialShare).toFixed(0),
      agoText(region.sinceReadSeconds),
      agoText(region.sinceWriteSeconds),
      `${(100 * region.writtenWithinMinute).toFixed(0)} %`,
    ]),
  );
}

/** Decayed counts are no whole numbers; one of which a part is in doubt is marked. */
function countText(count: number, doubt = 0): string {
  const text = count > 0 && count < 9.5 ? count.toFixed(1) : Math.round(count).toLocaleString('en');
  return doubt > 0 ? `~${text}` : text;
}

function agoText(seconds: number | undefined): string {
  if (seconds === undefined) return '-';
  return seconds < 60 ? `${seconds} s` : formatDuration(seconds * 1000);
}
