/** objects: immutable blobs under names; see README.md. */
export * from './directory.ts';
export * from './fault.ts';
export * from './memory.ts';
export { checkObjectName, isObjectName } from './object-name.ts';
export * from './object-store.ts';
