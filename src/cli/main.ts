/** Where `ferry` starts: the process around one command line. */
import { nodeEnv } from '../core/index.ts';
import { showError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';
import { runWords, shownBy } from './run-words.ts';
import { processTerminal } from './terminal.ts';

const words = process.argv.slice(2);
const terminal = processTerminal();

// What no one caught is a defect; it must not end in a bare stack, nor with another status.
process.on('uncaughtException', (error) =>
  process.exit(showError(error, terminal, shownBy(words))),
);

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

finish(await runWords(words, { env: nodeEnv(), terminal, variables: process.env }));
