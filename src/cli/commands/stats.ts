/** `ferry stats`: how much the repository holds, and in how little room. */
import {
  type CostEstimate,
  type CostItem,
  defaultPrices,
  estimateCost,
  type RepositoryStats,
  readPrices,
  repositoryStats,
} from '../../transfer/index.ts';
import { repositoryOf } from '../repository.ts';
import { formatSize, formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { statsSpec } from '../table/repository.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof statsSpec> = async (context, { cost, prices }) => {
  const { env, output, signal } = context;
  const list = prices === undefined ? defaultPrices : await readPrices(env.files, prices);
  await using repository = await repositoryOf(context);
  const stats = await repositoryStats(repository, signal);
  const { repositoryId, chunkBytes } = repository.superblock;
  const dedupRatio = ratio(stats.dataBytes, stats.uniqueBytes);
  const compressionRatio = ratio(stats.uniqueBytes, stats.storedBytes);
  const fields = { repositoryId, chunkBytes, ...stats, dedupRatio, compressionRatio };
  if (!cost && prices === undefined) {
    output.item('summary', fields, textOf(stats, fields));
    return;
  }
  const estimate = estimateCost(stats, list);
  const text = `${textOf(stats, fields)}\n\n${costText(estimate)}`;
  output.item('summary', { ...fields, cost: estimate }, text);
};

const itemNames: Readonly<Record<CostItem['what'], string>> = {
  month: 'kept for a month',
  written: 'written, once',
  readAll: 'all data read, out of the cloud',
  open: 'opened without a cache',
};

function costText({ prices, items }: CostEstimate): string {
  const columns = ['COST', 'PUT', 'GET', 'LIST', 'BYTES', prices.currency].map((title, at) => ({
    title,
    align: at === 0 ? ('left' as const) : ('right' as const),
  }));
  const rows = items.map(({ what, requests, bytes, cost }) => [
    itemNames[what],
    ...[requests.put, requests.get, requests.list].map(String),
    formatSize(bytes),
    cost.toFixed(4),
  ]);
  const assumed = 'estimated: parts of 8 MiB, a read per frame, nothing tried twice';
  return `${textTable(columns, rows)}\nprices: ${prices.name}\n${assumed}`;
}

/** Two decimals; null where nothing is stored. */
function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : Math.round((100 * part) / whole) / 100;
}

type Derived = {
  readonly repositoryId: string;
  readonly chunkBytes: number;
  readonly dedupRatio: number | null;
  readonly compressionRatio: number | null;
};

function textOf(stats: RepositoryStats, derived: Derived): string {
  const times = (value: number | null) => (value === null ? '-' : `${value.toFixed(2)}x`);
  const rows: (readonly [string, string])[] = [
    ['repository', `${derived.repositoryId.slice(0, 8)}, ${chunks()}`],
    ['snapshots', `${stats.snapshots}, ${stats.volumes} volume${stats.volumes === 1 ? '' : 's'}`],
    ['logical', `${formatSize(stats.logicalBytes)}, all snapshots at full size`],
    ['data', `${formatSize(stats.dataBytes)} of that is not zero`],
    ['unique', `${formatSize(stats.uniqueBytes)} in ${stats.uniqueChunks} chunks`],
    ['stored', formatSize(stats.storedBytes)],
    ['dedup', times(derived.dedupRatio)],
    ['compression', times(derived.compressionRatio)],
    ['log', `${stats.logEntries} entries`],
  ];
  const objects = textTable(
    [{ title: 'OBJECTS' }, { title: 'COUNT', align: 'right' }, { title: 'STORED', align: 'right' }],
    Object.entries(stats.objects).map(([kind, { count, bytes }]) => [
      kind,
      String(count),
      formatSize(bytes),
    ]),
  );
  const text = rows.map(([key, value]) => `${key.padEnd(11)}  ${value}`).join('\n');
  return `${text}\n\n${objects}`;

  function chunks(): string {
    return `chunks of ${formatSizeExact(derived.chunkBytes)}`;
  }
}
