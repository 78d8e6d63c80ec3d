/** Whether this node may write a volume: what it knows of that in its state directory. */
import { type CodecPool, codecPool } from '../codec/index.ts';
import type { Device } from '../device/index.ts';
import { deviceDigest } from '../transfer/index.ts';
import { AgentAuthority } from '../transfer/replicate/index.ts';
import type { Context } from './context.ts';
import { stateFolder } from './repository.ts';

export function authorityOf(context: Context, volume: string): Promise<AgentAuthority> {
  return AgentAuthority.open(context.env, stateFolder(context, 'authority'), volume);
}

/** Of all of it, as it is. */
export async function digestOf({ env }: Context, device: Device): Promise<Uint8Array> {
  await using pool: CodecPool = codecPool(env, env.workers.parallelism);
  return await deviceDigest(device, device.sizeBytes, pool, {});
}
