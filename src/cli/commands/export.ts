/** `ferry export`: serves a file, a block device or memory over NBD. */
import { defaultVolumeName, openSource } from '../../transfer/index.ts';
import { serveUntilStopped } from '../serving.ts';
import type { Run } from '../spec.ts';
import type { exportSpec } from '../table/serving.ts';
import { serveTlsOf } from '../tls-credentials.ts';

export const run: Run<typeof exportSpec> = async (context, values) => {
  const { env, output } = context;
  const { source, readOnly, directIo } = values;
  const name = values.name ?? defaultVolumeName(source);
  const tls = await serveTlsOf(env.files, values, 'ferry export');
  await using device = await openSource(env, source, { readOnly, directIo });
  await serveUntilStopped(context, {
    device,
    name,
    description: device.name,
    readOnly,
    listen: values.listen,
    tls,
    fields: { durable: device.durable },
    note: device.durable ? '' : ', nothing survives a power cut',
  });
  output.summary({ state: 'stopped', name }, `${name} is served no longer`);
};
