/** One command line from its words to its exit status, whatever happens in it. */
import { parseCommandLine } from './command-line.ts';
import { showError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';
import { runCommand, type World } from './run-command.ts';
import { commandGroups } from './table/index.ts';
import { ferryVersion } from './version.ts';

/** How failures are shown where the command line itself may be at fault. */
export function shownBy(words: readonly string[]): { json: boolean; verbose: boolean } {
  const wants = (flag: string) => words.includes(flag);
  return { json: wants('--json'), verbose: wants('--verbose') || wants('-v') };
}

/** The exit status; never throws. `world.terminal` gets all that is printed. */
export async function runWords(words: readonly string[], world: World): Promise<number> {
  const { terminal } = world;
  try {
    const found = parseCommandLine(commandGroups, words, ferryVersion());
    if (!('text' in found)) return await runCommand(found, world);
    (found.status === exitStatus.done ? terminal.write : terminal.writeError)(found.text);
    return found.status;
  } catch (error) {
    return showError(error, terminal, shownBy(words));
  }
}
