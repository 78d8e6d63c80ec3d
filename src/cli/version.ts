/** Which version this is, as the package says. */
import { createRequire } from 'node:module';

export function ferryVersion(): string {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  return version;
}
