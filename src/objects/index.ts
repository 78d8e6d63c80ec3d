/** objects: immutable blobs under names; see README.md. */
export { CacheFolder, type CacheOptions } from './cache-folder.ts';
export { type CachedOptions, cachedStore } from './cached.ts';
export * from './directory.ts';
export * from './fault.ts';
export * from './memory.ts';
export { checkObjectName, isObjectName } from './object-name.ts';
export * from './object-store.ts';
export { type S3ObjectStore, type S3Options, s3Store } from './s3.ts';
export type { S3Pace, S3RequestClass, S3Usage } from './s3-calls.ts';
export type { S3Access } from './s3-client.ts';
export { s3PutRequests } from './s3-limits.ts';
export { checkEndpoint, isS3Location, parseS3Location } from './s3-location.ts';
export type { S3Abilities } from './s3-probe.ts';
