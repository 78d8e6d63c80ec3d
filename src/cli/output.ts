/** What commands print: text for people, or JSON lines with a `message_type` for programs. */
import type { Clock } from '../core/index.ts';
import { plainText } from './plain-text.ts';
import { type Progress, progressBar } from './progress.ts';
import type { Terminal } from './terminal.ts';

export type OutputOptions = {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly progress: boolean;
};

/** Fields of a JSON line: plain values, sizes in bytes, times in ISO 8601. */
export type Fields = Readonly<Record<string, unknown>>;

/** What SIGUSR1 prints. */
export type State = { readonly fields: Fields; readonly text: string };

export interface Output {
  readonly options: OutputOptions;

  /** What was asked for (a row of `ls`, a table): people get `text`, even with --quiet. */
  item(messageType: string, fields: Fields, text: string): void;

  /** Many of one kind, for programs only: written together. */
  items(messageType: string, rows: Iterable<Fields>): void;

  /** What was asked for, in a form for people only; programs get it by other calls. */
  text(text: string): void;

  /** The same, of many lines: written together. */
  lines(lines: Iterable<string>): void;

  /** What happens meanwhile, such as `listening on ...`; people get `text`, unless --quiet. */
  status(fields: Fields, text: string): void;

  /** The outcome; the last line. People get `text`, unless --quiet. */
  summary(fields: Fields, text: string): void;

  /** For --verbose: on stderr. */
  detail(text: string): void;

  /** Something is wrong, but the work goes on: on stderr. */
  warn(text: string): void;

  /** A bar on a terminal, `status` lines with --json, nothing otherwise. */
  progress(label: string, totalBytes: number): Progress;

  /** Clears a bar that stands on the terminal, for good. */
  hideProgress(): void;

  /** From now on SIGUSR1 prints what `tell` says. */
  setState(tell: () => State): void;

  /** SIGUSR1 came. */
  printState(): void;
}

/** Lines that are written together have about so many characters. */
const WRITE_LENGTH = 65_536;

export function output(terminal: Terminal, clock: Clock, options: OutputOptions): Output {
  const { json, quiet, verbose } = options;
  let bar: Progress | undefined;
  let tellState: () => State = () => ({ fields: { state: 'running' }, text: 'running' });

  const spelled = (messageType: string, fields: Fields) =>
    `${JSON.stringify({ message_type: messageType, ...fields })}\n`;
  const line = (messageType: string, fields: Fields) =>
    terminal.write(spelled(messageType, fields));

  function writeAll(texts: Iterable<string>): void {
    let part = '';
    for (const text of texts) {
      part += text;
      if (part.length < WRITE_LENGTH) continue;
      terminal.write(part);
      part = '';
    }
    if (part !== '') terminal.write(part);
  }

  function* each<T>(items: Iterable<T>, textOf: (item: T) => string): Generator<string> {
    for (const item of items) yield textOf(item);
  }

  function print(text: string): void {
    bar?.hide();
    terminal.write(`${plainText(text)}\n`);
  }

  function printError(text: string): void {
    bar?.hide();
    terminal.writeError(`${plainText(text)}\n`);
  }

  return {
    options,
    item: (messageType, fields, text) => (json ? line(messageType, fields) : print(text)),
    items(messageType, rows) {
      if (json) writeAll(each(rows, (fields) => spelled(messageType, fields)));
    },
    text(text) {
      if (!json) print(text);
    },
    lines(lines) {
      if (json) return;
      bar?.hide();
      writeAll(each(lines, (line) => `${plainText(line)}\n`));
    },
    status(fields, text) {
      if (json) line('status', fields);
      else if (!quiet) print(text);
    },
    summary(fields, text) {
      bar?.finish();
      if (json) line('summary', fields);
      else if (!quiet && text !== '') print(text);
    },
    detail(text) {
      if (verbose) printError(text);
    },
    warn(text) {
      if (json)
        terminal.writeError(`${JSON.stringify({ message_type: 'warning', message: text })}\n`);
      else printError(`ferry: warning: ${text}`);
    },
    progress(label, totalBytes) {
      bar?.finish();
      const sink = progressSink(terminal, options, (fields) => line('status', fields));
      const next = progressBar({ label, totalBytes, clock, ...sink });
      bar = next;
      tellState = next.state;
      return next;
    },
    hideProgress() {
      bar?.finish();
    },
    setState(tell) {
      tellState = tell;
    },
    printState() {
      const { fields, text } = tellState();
      if (json) line('status', fields);
      else printError(`ferry: ${text}`);
    },
  };
}

function progressSink(terminal: Terminal, options: OutputOptions, line: (fields: Fields) => void) {
  if (options.json) return options.progress ? { report: line } : {};
  if (!options.progress || options.quiet || !terminal.drawsProgress) return {};
  return { draw: (text: string) => terminal.writeError(text), columns: terminal.columns };
}
