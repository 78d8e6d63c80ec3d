/** Asks for a password on the terminal, without showing what is typed. */
import type { ReadStream } from 'node:tty';
import { CliError } from './errors.ts';

const ENTER = /[\r\n]/;
const BACKSPACE = ['\b', '\u007f'];
const ERASE_LINE = '\u0015';
const INTERRUPT = '\u0003';
const END = '\u0004';

/** Resolves at Enter; CLI_INTERRUPTED at Ctrl-C. */
export function askSecret(
  question: string,
  input: ReadStream,
  write: (text: string) => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let typed: string[] = [];
    write(question);
    input.setRawMode(true);
    input.setEncoding('utf8');
    input.resume();
    input.on('data', take);

    function finish(): void {
      input.off('data', take);
      input.setRawMode(false);
      input.pause();
      write('\n');
    }

    function take(text: string): void {
      for (const letter of text) {
        if (letter === INTERRUPT || (letter === END && typed.length === 0)) {
          finish();
          reject(interrupted());
          return;
        }
        if (ENTER.test(letter) || letter === END) {
          finish();
          resolve(typed.join(''));
          return;
        }
        if (BACKSPACE.includes(letter)) typed.pop();
        else if (letter === ERASE_LINE) typed = [];
        else typed.push(letter);
      }
    }
  });
}

function interrupted(): CliError {
  return new CliError('CLI_INTERRUPTED', 'interrupted', { hint: 'Nothing was done.' });
}
