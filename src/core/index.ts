/** core: what every layer stands on; see README.md. */
export * from './bytes.ts';
export * from './env.ts';
export * from './errors.ts';
export * from './hash.ts';
export * from './node/node-env.ts';
export * from './settle.ts';
export * from './sibling-module.ts';
