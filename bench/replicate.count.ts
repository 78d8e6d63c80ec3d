/** In the place of ssh: runs the other side's program here, and counts what passes, both ways. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const [folder = '', ...words] = process.argv.slice(2);
const PROGRAMS = new Set(['rsync', 'borg', 'sftp-server']);
/** What comes before it is for ssh. */
const from = words.findIndex((word) => PROGRAMS.has(basename(word)));
const [program = 'false', ...rest] = words.slice(from);
const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
mkdirSync(folder, { recursive: true });
/** Written each time: who calls may not wait for our end. */
const countPath = join(folder, `${process.pid}`);
let bytes = 0;
for (const [source, target] of [
  [process.stdin, child.stdin],
  [child.stdout, process.stdout],
] as const) {
  source.on('data', (part: Buffer) => {
    bytes += part.byteLength;
    writeFileSync(countPath, `${bytes}`);
  });
  source.pipe(target);
  target.on('error', () => child.kill());
}
child.on('close', (status) => process.exit(status ?? 1));
