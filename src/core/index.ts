/** core: what every layer stands on; see README.md. */
export * from './bitmap.ts';
export * from './bytes.ts';
export * from './env.ts';
export * from './errors.ts';
export * from './extents.ts';
export * from './file-io.ts';
export * from './hash.ts';
export * from './kernel.ts';
export * from './node/native-zstd.ts';
export * from './node/native-zstd-encoder.ts';
export * from './node/node-env.ts';
export * from './node/node-kernel.ts';
export { PERIOD_FORM, type Period, parsePeriod } from './period.ts';
export * from './queue.ts';
export * from './settle.ts';
export * from './sibling-module.ts';
export * from './size.ts';
export * from './state-file.ts';
