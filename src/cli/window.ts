/** `--window`, of a provider and of one agent. */
import { parseWindow, WINDOW_FORM } from '../service/index.ts';
import { usageError } from './errors.ts';

/** As it was written, if it can be meant. */
export function checkedWindow(written: string, command: string): string {
  if (parseWindow(written) !== undefined) return written;
  throw usageError(`--window: expected ${WINDOW_FORM}, not '${written}'`, command);
}
