/** Certificates for tests, made by openssl: an authority, a server, a client, and a foreign one. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runOk } from './processes.ts';

export type Certificates = {
  /** Under the names that GnuTLS's tools look for. */
  readonly folder: string;
  /** Of the same shape, from an authority that the others do not know. */
  readonly foreignFolder: string;
};

/** Fills two new folders below `folder`. */
export async function makeCertificates(
  openssl: string,
  folder: string,
  makeFolder: (name: string) => Promise<string>,
): Promise<Certificates> {
  const own = await makeFolder('own');
  const foreign = await makeFolder('foreign');
  for (const place of [own, foreign]) {
    await makeKey(openssl, place, 'ca');
    const names = ['-key', 'ca-key.pem', '-out', 'ca-cert.pem', '-subj', '/CN=Test Authority'];
    await runOk(openssl, ['req', '-x509', '-new', '-days', '2', ...names], { cwd: place });
    await signed(openssl, place, 'server', 'serverAuth');
    await signed(openssl, place, 'client', 'clientAuth');
  }
  await writeFile(join(folder, 'keys.psk'), `alice:${'a1'.repeat(32)}\nbob:${'b2'.repeat(32)}\n`);
  return { folder: own, foreignFolder: foreign };
}

async function makeKey(openssl: string, cwd: string, name: string): Promise<void> {
  const out = ['-out', `${name}-key.pem`];
  await runOk(
    openssl,
    ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', ...out],
    {
      cwd,
    },
  );
}

async function signed(openssl: string, cwd: string, name: string, usage: string): Promise<void> {
  await makeKey(openssl, cwd, name);
  const extensions = [
    'basicConstraints=critical,CA:FALSE',
    `extendedKeyUsage=${usage}`,
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
  ];
  await writeFile(join(cwd, `${name}.ext`), `${extensions.join('\n')}\n`);
  const request = ['-key', `${name}-key.pem`, '-subj', `/CN=${name}`, '-out', `${name}.csr`];
  await runOk(openssl, ['req', '-new', ...request], { cwd });
  await runOk(
    openssl,
    [
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem'],
      ...['-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}-cert.pem`],
    ],
    { cwd },
  );
}
