/** In the place of ssh: runs the other side's program here, and counts what passes, both ways. */
import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { basename } from 'node:path';

const [countPath = '', ...words] = process.argv.slice(2);
const PROGRAMS = new Set(['rsync', 'borg', 'sftp-server']);
/** What comes before it is for ssh. */
const from = words.findIndex((word) => PROGRAMS.has(basename(word)));
const [program = 'false', ...rest] = words.slice(from);
const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
let bytes = 0;
for (const [source, target] of [
  [process.stdin, child.stdin],
  [child.stdout, process.stdout],
] as const) {
  source.on('data', (part: Buffer) => {
    bytes += part.byteLength;
  });
  source.pipe(target);
  target.on('error', () => child.kill());
}
child.on('close', (status) => {
  appendFileSync(countPath, `${bytes}\n`);
  process.exit(status ?? 1);
});
