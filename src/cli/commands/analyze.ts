/** `ferry analyze`: what deduplication and compression would save. */
import type { Run } from '../spec.ts';
import type { analyzeSpec } from '../table/images.ts';

export const run: Run<typeof analyzeSpec> = async ({ output }, values) => {
  output.text(JSON.stringify(values));
};
