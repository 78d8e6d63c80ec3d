/** transfer/mount: a snapshot as a device that can be used at once; see README.md. */
export { type Mount, type MountOptions, mount } from './mount.ts';
