/** The tracker of a torture round: an image in a folder, its state beside it. */
import { mkdirSync, statSync } from 'node:fs';
import type { Env } from '../../src/core/index.ts';
import { Tracker } from '../../src/track/index.ts';

export function openTracker(env: Env, folder: string): Promise<Tracker> {
  const directory = `${folder}/tracker`;
  mkdirSync(directory, { recursive: true });
  const image = `${folder}/disk.img`;
  const identify = async () => {
    const { kind, device, inode, sizeBytes, modifiedMs, changedMs } = await env.files.stat(image);
    return {
      kind: kind === 'file' ? kind : 'other',
      device,
      inode,
      sizeBytes,
      modifiedMs,
      changedMs,
    };
  };
  return Tracker.open(env, {
    directory,
    volume: 'torture',
    sizeBytes: statSync(image).size,
    identify: identify as () => ReturnType<Parameters<typeof Tracker.open>[1]['identify']>,
  });
}
