/** Where `ferry` starts: finds the command, imports only its file, runs it, exits. */
import { createRequire } from 'node:module';
import { nodeEnv } from '../core/index.ts';
import { parseCommandLine } from './command-line.ts';
import { showError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';
import { runCommand } from './run-command.ts';
import { commandGroups } from './table/index.ts';
import { processTerminal } from './terminal.ts';

const words = process.argv.slice(2);
const terminal = processTerminal();
const wants = (flag: string) => words.includes(flag);
const shown = () => ({ json: wants('--json'), verbose: wants('--verbose') || wants('-v') });

// What no one caught is a defect; it must not end in a bare stack, nor with another status.
process.on('uncaughtException', (error) => process.exit(showError(error, terminal, shown())));

// Node tells that the reader of stdout has left in a later turn, maybe after the command's end.
let isOutputClosed = false;
terminal.onOutputClosed(() => {
  isOutputClosed = true;
  finish(Number(process.exitCode ?? exitStatus.done));
});

function finish(status: number): void {
  const isLost = isOutputClosed && status === exitStatus.done;
  process.exitCode = isLost ? exitStatus.outputClosed : status;
}

try {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const found = parseCommandLine(commandGroups, words, version);
  if ('text' in found) {
    (found.status === exitStatus.done ? terminal.write : terminal.writeError)(found.text);
    finish(found.status);
  } else {
    finish(await runCommand(found, { env: nodeEnv(), terminal }));
  }
} catch (error) {
  finish(showError(error, terminal, shown()));
}
