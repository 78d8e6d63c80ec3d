/** Asks the HTTP API of a `ferry serve`, by its socket or its address. */
import { request } from 'node:http';
import { type Address, FerryError, type Files, messageOf, unlessMissing } from '../core/index.ts';
import { CliError } from './errors.ts';

const TIMEOUT_MS = 10_000;
/** A provider with thousands of volumes says as much. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

export type Asked = {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
  /** It may take so long; ten seconds by default. */
  readonly timeoutMs?: number;
};

/** CLI_NO_PROVIDER if nobody answers there; what the API says otherwise. */
export async function ask<Answer>(address: Address, asked: Asked): Promise<Answer> {
  const { status, text } = await exchange(address, asked);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (cause) {
    throw noProvider(address, 'what answers there is no provider', cause);
  }
  if (status === 200 || status === 503) return answer as Answer;
  const { code = 'SERVICE_REQUEST', message = `status ${status}`, hint = '' } = answer as Failure;
  throw new FerryError(code, message, { hint });
}

type Failure = { readonly code?: string; readonly message?: string; readonly hint?: string };

/** Where providers that run with this state directory, or did, answer. */
export async function apiSockets(files: Files, directory: string): Promise<string[]> {
  const names = (await unlessMissing(files.list(directory))) ?? [];
  const isApi = (name: string) => /^serve(-\d+)?\.sock$/.test(name);
  return names.filter(isApi).map((name) => `${directory}/${name}`);
}

function exchange(
  address: Address,
  { method = 'GET', path, body, timeoutMs = TIMEOUT_MS }: Asked,
): Promise<{ status: number; text: string }> {
  const place =
    address.kind === 'unix'
      ? { socketPath: address.path }
      : { host: address.host, port: address.port };
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const headers = sent === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => reject(noProvider(address, messageOf(error), error));
    const options = { ...place, method, path, headers, timeout: timeoutMs, agent: false };
    const asking = request(options, (response) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        bytes += part.byteLength;
        if (bytes > ANSWER_BYTES_MAX) asking.destroy(new Error('the answer is too long'));
        else parts.push(part);
      });
      response.on('error', fail);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') });
      });
    });
    asking.on('timeout', () => asking.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
    asking.on('error', fail);
    asking.end(sent);
  });
}

function noProvider(address: Address, why: string, cause: unknown): CliError {
  const where = address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
  return new CliError('CLI_NO_PROVIDER', `no provider answers at ${where}: ${why}`, {
    hint:
      address.kind === 'unix'
        ? 'Start `ferry serve`, or set FERRY_STATE_DIR as it has it.'
        : 'See whether `ferry serve` runs, and which --http it has.',
    cause,
  });
}
