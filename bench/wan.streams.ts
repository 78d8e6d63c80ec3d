/** Plain TCP beside sessions in `npm run bench -- wan`: so many streams, and nothing above them. */
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const WRITE_BYTES = 256 * 1024;

export type StreamsOptions = {
  readonly role: 'host' | 'dialler';
  readonly host: string;
  readonly port: number;
  readonly streams: number;
  readonly seconds: number;
  /** The first part, which is not counted. */
  readonly warmUpSeconds: number;
};

const options = JSON.parse(process.argv[2]!) as StreamsOptions;

/** The host counts what comes, and prints it once. */
async function host({ host: at, port, warmUpSeconds, seconds }: StreamsOptions): Promise<void> {
  let bytes = 0;
  const begun = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    begun.resolve();
    socket.on('data', (part) => {
      bytes += part.byteLength;
    });
    socket.on('error', () => {});
  });
  server.listen(port, at, () => process.stdout.write('ready\n'));
  await begun.promise;
  await delay(warmUpSeconds * 1000);
  const start = { bytes, ms: performance.now() };
  await delay(seconds * 1000);
  const passed = (performance.now() - start.ms) / 1000;
  process.stdout.write(
    `${JSON.stringify({ megabits: (8 * (bytes - start.bytes)) / 1e6 / passed })}\n`,
  );
  process.exit(0);
}

function dialler({ host: to, port, streams }: StreamsOptions): void {
  const part = Buffer.alloc(WRITE_BYTES, 1);
  for (let count = 0; count < streams; count += 1) {
    const socket = connect(port, to);
    const fill = () => {
      while (socket.write(part));
    };
    socket.on('connect', fill).on('drain', fill);
    socket.on('error', () => {}).on('close', () => process.exit(0));
  }
}

if (options.role === 'host') await host(options);
else dialler(options);
