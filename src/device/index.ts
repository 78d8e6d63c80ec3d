/** device: one contract over everything that can be read and written; see README.md. */
export * from './device.ts';
