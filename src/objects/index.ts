/** objects: immutable blobs under names; see README.md. */
export * from './object-store.ts';
