/** The tracker of a torture round: an image in a folder, its state beside it. */
import { mkdirSync, statSync } from 'node:fs';
import type { Env } from '../../src/core/index.ts';
import { type Identity, Tracker } from '../../src/track/index.ts';

export function openTracker(env: Env, folder: string): Promise<Tracker> {
  const directory = `${folder}/tracker`;
  mkdirSync(directory, { recursive: true });
  const image = `${folder}/disk.img`;
  const identify = async (): Promise<Identity> => {
    const { kind, ...stat } = await env.files.stat(image);
    const { device, inode, sizeBytes, modifiedMs, changedMs } = stat;
    const told = kind === 'file' ? kind : 'other';
    return { kind: told, device, inode, sizeBytes, modifiedMs, changedMs };
  };
  return Tracker.open(env, {
    directory,
    volume: 'torture',
    sizeBytes: statSync(image).size,
    identify,
  });
}
