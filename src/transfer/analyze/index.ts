/** analyze: what deduplication and compression would save on a set of images. */
export * from './analyze.ts';
