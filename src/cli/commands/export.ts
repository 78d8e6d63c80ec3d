/** `ferry export`: serves a file, a block device or memory over NBD. */
import { EXPORT_NAME_BYTES_MAX, isUri } from '../../nbd/index.ts';
import { defaultVolumeName, openSource } from '../../transfer/index.ts';
import { usageError } from '../errors.ts';
import { serveUntilStopped } from '../serving.ts';
import type { Run } from '../spec.ts';
import type { exportSpec } from '../table/serving.ts';
import { serveTlsOf } from '../tls-credentials.ts';

export const run: Run<typeof exportSpec> = async (context, values) => {
  const { env, output } = context;
  const { source, readOnly, directIo, threads } = values;
  if (threads > 1 && isUri(source)) {
    throw usageError('--threads is for files, block devices and memory', 'ferry export');
  }
  if (directIo && (isUri(source) || source.startsWith('memory:'))) {
    throw usageError(`--direct-io is for files and block devices, not ${source}`, 'ferry export');
  }
  const name = values.name ?? defaultVolumeName(source);
  checkName(name);
  const tls = await serveTlsOf(env.files, values, 'ferry export');
  await using device = await openSource(env, source, { readOnly, directIo });
  await serveUntilStopped(context, {
    device,
    name,
    description: device.name,
    readOnly,
    listen: values.listen,
    tls,
    threads: threads > 1 ? { count: threads, source, directIo } : undefined,
    fields: { durable: device.durable },
    note: device.durable ? '' : ', nothing survives a power cut',
  });
  output.summary({ state: 'stopped', name }, `${name} is served no longer`);
};

/** No client may ask for a longer one, and none sees an empty one in a list. */
function checkName(name: string): void {
  const lengthBytes = Buffer.byteLength(name);
  if (lengthBytes > 0 && lengthBytes <= EXPORT_NAME_BYTES_MAX) return;
  const limit = `an export's name has 1 to ${EXPORT_NAME_BYTES_MAX} bytes, not ${lengthBytes}`;
  throw usageError(`--name: ${limit}`, 'ferry export');
}
