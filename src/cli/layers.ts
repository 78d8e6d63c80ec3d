/** Where writes to mounted snapshots are kept: one directory for each repository and snapshot. */
import { resolve } from 'node:path';
import { type Files, unlessMissing } from '../core/index.ts';
import type { Repository, Snapshot } from '../store/index.ts';
import type { Settings } from './settings.ts';

function layersOf(settings: Settings, repository: Repository): string {
  return resolve(settings.stateDirectory, 'layers', repository.superblock.repositoryId);
}

export function layerDirectory(
  settings: Settings,
  repository: Repository,
  snapshot: Snapshot,
): string {
  return `${layersOf(settings, repository)}/${snapshot.id}`;
}

/** Snapshots of the volume, other than `snapshot`, of which a layer is kept. */
export async function otherLayers(
  files: Files,
  settings: Settings,
  repository: Repository,
  snapshot: Snapshot,
): Promise<Snapshot[]> {
  const names = new Set(await unlessMissing(files.list(layersOf(settings, repository))));
  const others = repository.snapshots(snapshot.volume);
  return others.filter(({ id }) => id !== snapshot.id && names.has(id));
}
