/** Estimates what a repository costs in object storage, from what it holds and a price list. */
import { type Files, type OpenFile, readFully } from '../core/index.ts';
import { TransferError } from './errors.ts';
import type { RepositoryStats } from './stats.ts';

/** What providers charge for; bytes by the GiB, which bills call GB. */
export type Prices = {
  readonly name: string;
  readonly currency: string;
  readonly storedGibMonth: number;
  readonly put1000: number;
  readonly get1000: number;
  readonly list1000: number;
  readonly delete1000: number;
  /** Out of the provider's network; nothing where the reader is inside of it. */
  readonly egressGib: number;
};

/** As published for S3 Standard in us-east-1, first tier; taxes and free tiers left out. */
export const defaultPrices: Prices = {
  name: 'AWS S3 Standard, us-east-1, first tier',
  currency: 'USD',
  storedGibMonth: 0.023,
  put1000: 0.005,
  get1000: 0.0004,
  list1000: 0.005,
  delete1000: 0,
  egressGib: 0.09,
};

export type Requests = {
  readonly put: number;
  readonly get: number;
  readonly list: number;
  readonly delete: number;
};

export type CostItem = {
  readonly what: 'month' | 'written' | 'readAll' | 'open';
  readonly requests: Requests;
  /** Bytes kept for a month, sent, or fetched. */
  readonly bytes: number;
  readonly cost: number;
};

export type CostEstimate = { readonly prices: Prices; readonly items: readonly CostItem[] };

const GIB = 2 ** 30;
const LISTED_PER_REQUEST = 1000;
const PRICES_BYTES_MAX = 64 * 1024;

export function estimateCost(stats: RepositoryStats, prices: Prices): CostEstimate {
  const none: Requests = { put: 0, get: 0, list: 0, delete: 0 };
  const { storedBytes, objects, frames, putRequests } = stats;
  const packs = objects.packs?.count ?? 0;
  const sessions = packs; // Each sealed pack is told in a session object that is removed later.
  const items: [CostItem['what'], Requests, number, number][] = [
    ['month', none, storedBytes, prices.storedGibMonth],
    // Where a pack goes up in parts, its name is looked up first.
    [
      'written',
      { ...none, put: putRequests + sessions, get: packs, delete: sessions },
      storedBytes,
      0,
    ],
    ['readAll', { ...none, get: frames }, objects.packs?.bytes ?? 0, prices.egressGib],
    ['open', openRequests(stats), openBytes(stats), prices.egressGib],
  ];
  return {
    prices,
    items: items.map(([what, requests, bytes, perGib]) => ({
      what,
      requests,
      bytes,
      cost: costOf(requests, prices) + (bytes / GIB) * perGib,
    })),
  };
}

function costOf(requests: Requests, prices: Prices): number {
  const { put1000, get1000, list1000, delete1000 } = prices;
  const { put, get, list } = requests;
  const sum = put * put1000 + get * get1000 + list * list1000 + requests.delete * delete1000;
  return sum / 1000;
}

/** Without a cache: superblock, checkpoint, the log since, segments, and tables of loose packs. */
function openRequests({ logEntries, objects, loosePacks }: RepositoryStats): Requests {
  const segments = objects.index?.count ?? 0;
  const checkpoints = objects.checkpoints?.count ?? 0;
  const entries = checkpoints === 0 ? logEntries : logEntries % 64;
  const list = 1 + Math.ceil((logEntries + 1) / LISTED_PER_REQUEST);
  const get = 2 + (checkpoints > 0 ? 1 : 0) + entries + segments + 2 * loosePacks;
  return { put: 0, get, list, delete: 0 };
}

function openBytes({ objects }: RepositoryStats): number {
  return (objects.index?.bytes ?? 0) + (objects.log?.bytes ?? 0);
}

/** A JSON file with some or all of the fields of a price list; TRANSFER_PRICES. */
export async function readPrices(files: Files, path: string): Promise<Prices> {
  await using file = disposable(await files.open(path, 'read'));
  const bytes = new Uint8Array(PRICES_BYTES_MAX);
  const lengthBytes = await readFully(file.file, bytes, 0);
  let given: unknown;
  try {
    given = JSON.parse(new TextDecoder().decode(bytes.subarray(0, lengthBytes)));
  } catch (cause) {
    throw wrongPrices(`${path} is no JSON`, cause);
  }
  if (typeof given !== 'object' || given === null) throw wrongPrices(`${path} is no price list`);
  for (const [field, value] of Object.entries(given)) {
    const known = defaultPrices[field as keyof Prices];
    if (known === undefined) throw wrongPrices(`${path}: there is no price ${field}`);
    const fits = typeof value === typeof known && (typeof value !== 'number' || value >= 0);
    if (!fits) throw wrongPrices(`${path}: ${field} is not a ${typeof known} of at least 0`);
  }
  return { ...defaultPrices, name: path, ...given };
}

function disposable(file: OpenFile): AsyncDisposable & { readonly file: OpenFile } {
  return { file, [Symbol.asyncDispose]: () => file.close() };
}

function wrongPrices(message: string, cause?: unknown): TransferError {
  return new TransferError('TRANSFER_PRICES', message, {
    hint: `Fields: ${Object.keys(defaultPrices).join(', ')}.`,
    cause,
  });
}
