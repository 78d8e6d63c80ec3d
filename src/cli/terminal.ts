/** The two streams a command prints to, and what is known about them. */
import { askSecret } from './ask-secret.ts';

export interface Terminal {
  write(text: string): void;
  writeError(text: string): void;
  /** Progress is drawn only where a person sees it: stderr on a terminal. */
  readonly drawsProgress: boolean;
  /** Columns of that terminal, at call time. */
  columns(): number;
  /** Calls `closed` once if the reader of stdout goes away. */
  onOutputClosed(closed: () => void): void;
  /** Asks for a line that is not shown; absent where nobody sits at stdin and stderr. */
  askSecret?(question: string): Promise<string>;
}

/** The process's own streams. Writes to pipes and files are synchronous here: nothing queues up. */
export function processTerminal(): Terminal {
  const { stdin, stdout, stderr, env } = process;
  // Without listeners a reader that has left would end the process with a stack.
  stdout.on('error', () => {});
  stderr.on('error', () => {});
  const ask = (question: string) => askSecret(question, stdin, (text) => void stderr.write(text));
  return {
    write: (text) => void stdout.write(text),
    writeError: (text) => void stderr.write(text),
    drawsProgress: stderr.isTTY === true && env.TERM !== 'dumb',
    columns: () => stderr.columns || 80, // 0 where nobody has said how wide it is.
    onOutputClosed: (closed) => void stdout.once('error', closed),
    ...(stdin.isTTY && stderr.isTTY && { askSecret: ask }),
  };
}
