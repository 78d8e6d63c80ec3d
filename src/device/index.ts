/** device: one contract over everything that can be read and written; see README.md. */
export * from './confirmed.ts';
export * from './copy-on-write.ts';
export * from './device.ts';
export * from './extent-list.ts';
export * from './file.ts';
export * from './kept-layer.ts';
export * from './memory.ts';
export * from './open.ts';
export * from './prefetch.ts';
export * from './read-only.ts';
export * from './shared-memory.ts';
export * from './slice.ts';
export * from './tracking.ts';
export * from './write-gate.ts';
