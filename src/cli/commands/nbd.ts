/** `ferry nbd`: what an NBD server says about an export; marks for its clients. */
import { connect, list, type NbdDevice, parseUri } from '../../nbd/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import type { Fields } from '../output.ts';
import { formatSize, formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { nbdSpec } from '../table/nbd.ts';

/** A question that somebody waits for: a server that is away is told at once. */
const options = { readOnly: true, reconnectTimeoutMs: 0, connectTimeoutMs: 10_000 } as const;

export const run: Run<typeof nbdSpec> = async (context, { action, uri, as, map, list: isList }) => {
  if (action !== 'info') {
    // It needs far more code than a question to a server does.
    const { mark } = await import('../nbd-marks.ts');
    return await mark(context, action, uri, as);
  }
  if (isList && map !== undefined)
    throw usageError('--list and --map exclude each other', 'ferry nbd');
  if (map !== undefined) await printMap(context, uri, map);
  else if (isList) await printAll(context, uri);
  else {
    await using device = await connect(context.env, uri, options);
    print(context, parseUri(uri).exportName, device, 'summary');
  }
};

async function printAll(context: Context, uri: string): Promise<void> {
  const { env, output, signal } = context;
  const names = await list(env, uri, options);
  for (const exportName of names) {
    signal.throwIfAborted();
    await using device = await connect(env, { ...parseUri(uri), exportName }, options);
    print(context, exportName, device, 'export');
  }
  output.summary({ exports: names.length }, names.length === 0 ? 'no exports' : '');
}

function print(
  { output }: Context,
  exportName: string,
  device: NbdDevice,
  messageType: 'export' | 'summary',
): void {
  const { sizeBytes, blockSizes, description, replies, contexts, features } = device;
  const fields: Fields = {
    export: exportName,
    description,
    sizeBytes,
    readOnly: features.readOnly,
    tls: device.tls,
    replies,
    blockSizes,
    rotational: device.hints.rotational,
    contexts,
    features,
  };
  const can = Object.entries(features).filter(([name, value]) => value && name !== 'readOnly');
  const { minimumBytes, preferredBytes, maximumBytes } = blockSizes;
  const rows: (readonly [string, string])[] = [
    ['export', JSON.stringify(exportName)],
    ...(description === '' ? [] : [['description', printable(description)] as const]),
    ['size', `${formatSize(sizeBytes)} (${sizeBytes} bytes)`],
    ['access', features.readOnly ? 'read-only' : 'writable'],
    ['protocol', `${replies} replies${device.tls ? ', TLS' : ', in the clear'}`],
    ['blocks', [minimumBytes, preferredBytes, maximumBytes].map(formatSizeExact).join(', ')],
    ['abilities', can.map(([name]) => name).join(', ')],
    ['contexts', contexts.map(printable).join(', ') || 'none'],
  ];
  output.item(
    messageType,
    fields,
    rows.map(([key, value]) => `${key.padEnd(11)}  ${value}`).join('\n'),
  );
}

/** Neighbours that are described alike are one extent, however the server cuts its answers. */
async function printMap(context: Context, uri: string, name: string): Promise<void> {
  const { env, output, signal } = context;
  await using device = await connect(env, uri, { ...options, contexts: [name] });
  if (!device.contexts.includes(name)) {
    throw usageError(`the server does not offer the context ${name}`, 'ferry nbd');
  }
  const totals = new Map<number, number>();
  let extents = 0;
  let start = 0;
  let last: number | undefined;
  const finish = (end: number) => {
    if (last === undefined || end === start) return;
    const lengthBytes = end - start;
    const type = describe(name, last);
    const fields = { offsetBytes: start, lengthBytes, flags: last, type };
    const columns = [String(start).padStart(15), String(lengthBytes).padStart(15)];
    output.item('extent', fields, `${columns.join('  ')}  ${String(last).padStart(3)}  ${type}`);
    totals.set(last, (totals.get(last) ?? 0) + lengthBytes);
    extents += 1;
    start = end;
  };
  for (let at = 0; at < device.sizeBytes; ) {
    signal.throwIfAborted();
    for (const { lengthBytes, flags } of await device.status(name, device.sizeBytes - at, at)) {
      if (flags !== last) finish(at);
      last = flags;
      at = Math.min(at + lengthBytes, device.sizeBytes);
    }
  }
  finish(device.sizeBytes);
  const byType = [...totals].map(([flags, bytes]) => ({ type: describe(name, flags), bytes }));
  const text = byType.map(({ type, bytes }) => `${formatSize(bytes)} ${type}`).join(', ');
  output.summary({ sizeBytes: device.sizeBytes, extents, totals: byType }, text);
}

function describe(context: string, flags: number): string {
  if (context === 'base:allocation')
    return ['data', 'hole', 'zero', 'hole,zero'][flags] ?? 'unknown';
  if (/^(qemu:dirty-bitmap|ferry:dirty)/.test(context)) return flags === 0 ? 'clean' : 'dirty';
  if (context === 'qemu:allocation-depth') {
    return ['unallocated', 'local'][flags] ?? `backing depth ${flags}`;
  }
  return `flags ${flags}`;
}

/** A server's words may hold what a terminal would obey. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ');
}
