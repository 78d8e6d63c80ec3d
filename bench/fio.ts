/** Runs fio against an export: random writes of 4 KiB, unless it is told otherwise. */
import { runOk } from '../test/interop/processes.ts';

/** What fio tells of its writes, as far as it is used here. */
export type FioWrites = {
  readonly iops: number;
  readonly total_ios: number;
  readonly clat_ns: {
    readonly max: number;
    readonly percentile: { readonly [percent: string]: number };
  };
};

export type FioRun = {
  readonly fio: string;
  readonly folder: string;
  readonly uri: string;
  readonly timeoutMs: number;
};

export async function fioWrites(
  { fio, folder, uri, timeoutMs }: FioRun,
  more: readonly string[],
): Promise<FioWrites> {
  const words = [
    ...['--name=bench', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4096'],
    ...['--output-format=json', ...more],
  ];
  const { stdout } = await runOk(fio, words, { cwd: folder, timeoutMs });
  return JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs[0].write;
}
