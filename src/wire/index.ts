/** wire: the session between two nodes, its lanes and its messages; see README.md. */
export { WireError, type WireErrorCode } from './errors.ts';
export {
  PRIORITY_BACKGROUND,
  PRIORITY_CONTROL,
  PRIORITY_DEMAND,
  PRIORITY_DIRTY,
  PRIORITY_SPECULATION,
} from './header.ts';
export * from './limits.ts';
export * from './messages/index.ts';
