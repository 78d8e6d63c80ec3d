/** Finds the real tools that interop tests use, and says aloud when one is absent. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** Where Debian puts what an ordinary PATH leaves out (nbd-client, losetup, mkfs). */
const systemFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The full path of `tool`, or undefined if no folder of the PATH has it. */
export function findTool(tool: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).concat(systemFolders);
  for (const folder of folders) {
    const path = join(folder, tool);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  return undefined;
}

/**
 * Answers the tool's path. When it is missing, the test is skipped with a message that names the
 * Debian package, or fails if FERRY_REQUIRE_TOOLS=1; the caller returns on undefined.
 */
export function requireTool(
  context: TestContext,
  tool: string,
  debianPackage: string,
): string | undefined {
  const path = findTool(tool);
  if (path === undefined) absent(context, `${tool} is not installed (Debian: ${debianPackage})`);
  return path;
}

export type Tools = Readonly<Record<string, string>>;

/** The paths of several, given with their Debian packages; undefined once one is missing. */
export function requireTools(context: TestContext, packages: Tools): Tools | undefined {
  const found: Record<string, string> = {};
  for (const [tool, debianPackage] of Object.entries(packages)) {
    const path = requireTool(context, tool, debianPackage);
    if (path === undefined) return undefined;
    found[tool] = path;
  }
  return found;
}

/** Like `requireTool`, for a module of the system's Python; answers the interpreter. */
export function requirePythonModule(
  context: TestContext,
  module: string,
  debianPackage: string,
): string | undefined {
  // Debian installs its modules for its own Python only, which another may hide.
  for (const python of ['/usr/bin/python3', findTool('python3')]) {
    if (python === undefined) continue;
    const { status } = spawnSync(python, ['-c', `import ${module}`], { timeout: 10_000 });
    if (status === 0) return python;
  }
  absent(context, `Python's ${module} is not installed (Debian: ${debianPackage})`);
  return undefined;
}

/** For what is no tool: root, a kernel feature, a device. The caller returns on false. */
export function requireCondition(context: TestContext, holds: boolean, what: string): boolean {
  if (!holds) absent(context, what);
  return holds;
}

/** For what no package can supply, such as the mode of a device: skips aloud, even in CI. */
export function requireMachine(context: TestContext, holds: boolean, what: string): boolean {
  if (holds) return true;
  context.diagnostic(`SKIPPED: ${what}`);
  context.skip(`SKIPPED: ${what}`);
  return false;
}

function absent(context: TestContext, what: string): void {
  if (process.env.FERRY_REQUIRE_TOOLS === '1') throw new Error(`MISSING: ${what}`);
  const message = `SKIPPED: ${what}`;
  context.diagnostic(message);
  context.skip(message);
}
