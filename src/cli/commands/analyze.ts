/** `ferry analyze`: what deduplication and compression would save. */
import type { Device } from '../../device/index.ts';
import { type Analysis, analyze, type Space } from '../../transfer/analyze/index.ts';
import { openDisk } from '../../transfer/index.ts';
import { hashFile } from '../hash-file.ts';
import { formatPercent, formatSize, formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { analyzeSpec } from '../table/images.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof analyzeSpec> = async ({ env, output, signal }, values) => {
  await using stack = new AsyncDisposableStack();
  const images: { name: string; device: Device }[] = [];
  for (const name of values.images) {
    const { device, warning } = stack.use(await openDisk(env, name, { format: values.format }));
    if (warning !== undefined) output.warn(`${name}: ${warning}`);
    images.push({ name, device });
  }
  const hashes =
    values.hashes === undefined ? undefined : stack.use(await hashFile(env, values.hashes));
  const totalBytes = images.reduce((sum, { device }) => sum + device.sizeBytes, 0);
  const progress = output.progress('reading', totalBytes);
  const analyses = await analyze(images, {
    blockSizesBytes: values.blockSize,
    level: values.level,
    sampleEvery: values.sample,
    signal,
    hashes,
    onProgress: progress.update,
  });
  await hashes?.finish();
  progress.finish();
  if (output.options.json) {
    for (const analysis of analyses) {
      for (const image of analysis.images) {
        output.item('image', { blockSizeBytes: analysis.blockSizeBytes, ...fieldsOf(image) }, '');
      }
    }
  } else {
    output.text(analyses.map((each) => textOf(each, values.level)).join('\n\n'));
  }
  const totals = analyses.map(({ blockSizeBytes, total }) => ({
    blockSizeBytes,
    ...fieldsOf(total),
  }));
  output.summary({ images: images.length, level: values.level, totals }, '');
};

function fieldsOf<Counts extends Space>(space: Counts) {
  const percent = (whole: number) =>
    whole === 0 ? 0 : Math.round(10_000 * (1 - space.uniqueBytes / whole)) / 100;
  return {
    ...space,
    compressedIsEstimate: space.compressedBlocks < space.uniqueBlocks,
    savedPercent: percent(space.nonZeroBytes),
    savedWithZeroesPercent: percent(space.rawBytes),
  };
}

const right = (title: string) => ({ title, align: 'right' as const });

function textOf({ blockSizeBytes, images, total }: Analysis, level: number): string {
  const columns = [
    { title: 'IMAGE' },
    right('BLOCKS'),
    right('NOT ZERO'),
    right('UNIQUE'),
    right('SAVED'),
    right('WITH ZEROES'),
    right('NEEDS'),
    ...(level === 0 ? [] : [right('COMPRESSED')]),
    ...(images.length === 1 ? [] : [right('ADDS')]),
  ];
  const rows = images.map((image) => [...cellsOf(image.name, image), formatSize(image.addedBytes)]);
  if (images.length > 1) rows.push(cellsOf('all', total));
  const needs = [
    `${formatSize(total.rawBytes)} needs ${formatSize(total.uniqueBytes)}`,
    ...(total.compressedBytes === undefined
      ? []
      : [`${formatSize(total.compressedBytes)} compressed with zstd ${level} (${basisOf(total)})`]),
  ].join(', ');
  const title = `Blocks of ${formatSizeExact(blockSizeBytes)}`;
  return `${title}\n${textTable(columns, rows)}\n${needs}`;
}

function cellsOf(name: string, space: Space): string[] {
  const { rawBlocks, nonZeroBlocks, uniqueBlocks, rawBytes, nonZeroBytes, uniqueBytes } = space;
  const saved = (whole: number) => formatPercent(whole - uniqueBytes, whole);
  return [
    name,
    ...[rawBlocks, nonZeroBlocks, uniqueBlocks].map(String),
    saved(nonZeroBytes),
    saved(rawBytes),
    formatSize(uniqueBytes),
    ...(space.compressedBytes === undefined ? [] : [formatSize(space.compressedBytes)]),
  ];
}

function basisOf({ compressedBlocks, uniqueBlocks }: Space): string {
  return compressedBlocks === uniqueBlocks
    ? 'measured'
    : `estimated from ${compressedBlocks} of ${uniqueBlocks} blocks`;
}
