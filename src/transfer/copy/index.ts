/** transfer/copy: snapshots from one repository to another; see README.md. */
export { type CopyReport, type CopyRequest, copy, type Refusal } from './copy.ts';
export type { SnapshotCopy } from './copy-snapshot.ts';
export { type Estimate, estimates } from './estimate.ts';
export { type Selection, select } from './selection.ts';
