/** The options that every command takes. */
import { flag, type OptionSpec, text } from './spec.ts';

export const globalOptions = {
  repo: text(
    'REPO',
    'the repository: a directory or s3://BUCKET/PREFIX (environment: FERRY_REPO)',
    {
      completes: 'directory',
    },
  ),
  endpoint: text('URL', 'the S3 server, if it is not AWS (environment: AWS_ENDPOINT_URL)'),
  takeover: flag(
    'write to a single-writer repository although another host did; it must have stopped',
  ),
  json: flag('print JSON lines instead of text; errors too, on stderr'),
  quiet: flag('print nothing but what was asked for, warnings and errors', { short: 'q' }),
  verbose: flag('tell more, on stderr; with an error, what caused it', { short: 'v' }),
  noProgress: flag('draw no progress'),
} satisfies Record<string, OptionSpec>;

export type GlobalValues = {
  readonly [Key in keyof typeof globalOptions]: ReturnType<(typeof globalOptions)[Key]['parse']>;
};

/** `blockSize` is written `--block-size`. */
export function longFlag(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
