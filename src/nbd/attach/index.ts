/** nbd/attach: exports as disks and files of this host; see README.md. */
export {
  type AttachDeviceOptions,
  type AttachedDevice,
  attachDevice,
  detachDevice,
} from './attach-device.ts';
export { type AttachedFile, type AttachFileOptions, attachFile } from './attach-file.ts';
