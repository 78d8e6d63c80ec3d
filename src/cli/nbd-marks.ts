/** `ferry nbd mark` and `forget`: marks of a running export for its clients. */
import { TrackError } from '../track/index.ts';
import { forgetForNbd, markForNbd } from '../transfer/export/index.ts';
import { runningOf } from './backup-source.ts';
import type { Context } from './context.ts';

/** Of a volume that is being exported. */
export async function mark(
  context: Context,
  action: 'mark' | 'forget',
  volume: string,
  name: string,
): Promise<void> {
  const { env, output } = context;
  const running = await runningOf(context, volume);
  if (running === undefined) {
    throw new TrackError('TRACK_SOURCE', `no export of ${volume} runs on this host`, {
      hint: 'Start it with `ferry export SOURCE --name VOL`.',
    });
  }
  if (action === 'forget') {
    await forgetForNbd(env, running, name);
    output.summary({ volume: running.volume, name }, `${running.volume}: ${name} is forgotten`);
    return;
  }
  const { epoch, context: told } = await markForNbd(env, running, name);
  output.summary({ volume: running.volume, name, epoch, context: told }, told);
}
