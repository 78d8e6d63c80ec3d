/** transfer/mount: a snapshot as a device that can be used at once; see README.md. */
export { type Changes, type Mount, type MountOptions, mount, type Store } from './mount.ts';
