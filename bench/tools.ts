/** The programs that benchmarks call beside Blockferry. */
import { findTool } from '../test/interop/tools.ts';
import type { Report } from './report.ts';

/** Where it is; the report says that it is not. */
export function toolFor(
  report: Report,
  tool: string,
  debianPackage: string = tool,
): string | undefined {
  const path = findTool(tool);
  if (path === undefined) report.absent(tool, `not installed; Debian: ${debianPackage}`);
  return path;
}
