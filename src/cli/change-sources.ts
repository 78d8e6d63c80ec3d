/** Which sources of changes there are for what a person named. */
import { type ChangeSource, checksumSource, fullSource } from '../track/index.ts';

export function changeSources(): ChangeSource[] {
  return [checksumSource(), fullSource()];
}
