/** `ferry attach`: an export as a disk of this host's kernel, or as a file through FUSE. */
import { resolve } from 'node:path';
import { isUri, messageOf, nodeKernel } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import { attachDevice, attachFile, connect, detachDevice } from '../../nbd/index.ts';
import { defaultVolumeName, openSource } from '../../transfer/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { formatSize } from '../sizes.ts';
import type { Run, Values } from '../spec.ts';
import { stopped } from '../stopped.ts';
import type { attachSpec } from '../table/attach.ts';

type AttachValues = Values<typeof attachSpec>;

/** What both kinds have in common for the one who waits for their end. */
type Attached = {
  readonly path: string;
  readonly ended: Promise<void>;
  detach(): Promise<'gone' | 'busy'>;
};

const command = 'ferry attach';

export const run: Run<typeof attachSpec> = async (context, values) => {
  const { source, device, fuse, detach } = values;
  const ways = [device, fuse, detach].filter((way) => way !== undefined);
  if (detach !== undefined) {
    if (ways.length > 1 || source !== undefined) {
      throw usageError('--detach DEVICE stands alone', command);
    }
    await takeAway(context, detach);
    return;
  }
  if (source === undefined) throw usageError("missing required argument 'SOURCE'", command);
  if (ways.length !== 1) throw usageError('name either a DEVICE or --fuse PATH', command);
  if (fuse !== undefined) await attachAsFile(context, source, resolve(fuse), values);
  else await attachAsDisk(context, source, device!, values);
};

async function takeAway({ env, output }: Context, target: string): Promise<void> {
  if (/^\/dev\/nbd/.test(target)) await detachDevice(env, nodeKernel(), target);
  else await nodeKernel().unmountFuse(resolve(target));
  output.summary({ state: 'detached', path: target }, `${target} is taken away`);
}

async function attachAsDisk(
  context: Context,
  source: string,
  name: string,
  values: AttachValues,
): Promise<void> {
  const { env, output } = context;
  if (!isUri(source)) {
    throw usageError('a disk needs an NBD URI; `ferry export` serves a path under one', command);
  }
  const disk = await attachDevice(env, nodeKernel(), source, name, {
    connections: values.connections,
    readOnly: values.readOnly,
    timeoutS: values.timeout,
    reconnectS: values.reconnect,
    onTrouble: (message) => output.warn(message),
  });
  const { path, sizeBytes, hiddenBytes, blockBytes, readOnly, connectionCount } = disk;
  if (hiddenBytes > 0) {
    const blocks = `a disk has whole blocks of ${blockBytes}`;
    output.warn(`${path} ends ${hiddenBytes} bytes before its export does: ${blocks}`);
  }
  output.setState(() => ({
    fields: { state: 'attached', path, connected: disk.isConnected },
    text: `${path} is attached${disk.isConnected ? '' : ', its server is away'}`,
  }));
  output.item(
    'status',
    {
      ...{ state: 'ready', path, sizeBytes, hiddenBytes, blockBytes, readOnly },
      connections: connectionCount,
    },
    `ready: ${path}\n  ${describe(sizeBytes, readOnly)}`,
  );
  await untilTakenAway(
    context,
    disk,
    disk.isRelayed
      ? 'it goes as soon as it is unmounted; a second Ctrl-C takes its server away, not the disk'
      : 'it goes as soon as it is unmounted; a second Ctrl-C leaves it attached',
  );
}

async function attachAsFile(
  context: Context,
  source: string,
  path: string,
  values: AttachValues,
): Promise<void> {
  const { env, output } = context;
  await using device = await open(context, source, values);
  const readOnly = values.readOnly || device.readOnly;
  const file = await attachFile(env, nodeKernel(), device, path, {
    fileName: defaultVolumeName(source),
    readOnly,
    allowOther: values.allowOther,
    onTrouble: (error) => output.warn(messageOf(error)),
  });
  const { sizeBytes } = device;
  output.setState(() => ({
    fields: { state: 'attached', path: file.path, requests: file.requestCount },
    text: `${file.path} is attached, ${file.requestCount} requests wait`,
  }));
  output.item(
    'status',
    { state: 'ready', path: file.path, sizeBytes, readOnly },
    `ready: ${file.path}\n  ${describe(sizeBytes, readOnly)}`,
  );
  await untilTakenAway(
    context,
    file,
    'it is hidden now and stays until its last user has closed it; a second Ctrl-C breaks it off',
  );
}

function describe(sizeBytes: number, readOnly: boolean): string {
  const access = readOnly ? 'read-only' : 'writable';
  return `${formatSize(sizeBytes)}, ${access}; Ctrl-C takes it away`;
}

function open({ env }: Context, source: string, values: AttachValues): Promise<Device> {
  const { readOnly, connections } = values;
  if (!isUri(source)) return openSource(env, source, { readOnly });
  return connect(env, source, {
    connections,
    readOnly,
    answerTimeoutMs: values.timeout * 1000,
    reconnectTimeoutMs: values.reconnect * 1000,
  });
}

async function untilTakenAway(
  { output, signal }: Context,
  attached: Attached,
  whatIfBusy: string,
): Promise<void> {
  const { path, ended } = attached;
  const isAsked = await Promise.race([stopped(signal).then(() => true), ended.then(() => false)]);
  if (isAsked && (await attached.detach()) === 'busy') {
    output.warn(`${path} is in use: ${whatIfBusy}`);
  }
  await ended;
  output.summary({ state: 'stopped', path }, `${path} is taken away`);
}
