/** The key pair and the self-signed certificate by which a node is known; RFC 5280. */
import { createPrivateKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { messageOf, type Random, sha256, type TlsIdentity } from '../../core/index.ts';
import { WireError } from '../errors.ts';
import * as der from './der.ts';

const SERIAL_BYTES = 16;
/** Long before any node was made: a clock that lags by years makes no certificate invalid. */
const VALID_FROM_MS = Date.UTC(2020, 0, 1);
const YEAR_MS = 365.25 * 24 * 3600 * 1000;
const VALID_YEARS = 20;

const COMMON_NAME = '2.5.4.3';
const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17';
const SERVER_AUTHENTICATION = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTHENTICATION = '1.3.6.1.5.5.7.3.2';

export type NodeIdentity = TlsIdentity & {
  /** SHA-256 of the certificate: what others pin. */
  readonly fingerprint: Uint8Array;
};

export type IdentityOptions = {
  readonly random: Random;
  readonly wallMs: number;
  /** For people; letters, digits, dots and dashes. */
  readonly name: string;
  readonly validFromMs?: number;
  readonly validToMs?: number;
};

/** P-256: every TLS 1.3 stack has it, and one signature takes a fraction of a millisecond. */
export function createIdentity(options: IdentityOptions): NodeIdentity {
  const { random, wallMs, name } = options;
  if (!/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(name)) {
    throw new WireError('WIRE_FORMAT', `"${name}" is no name for a node`, {
      hint: 'Use up to 63 letters, digits, dots and dashes.',
    });
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = new Uint8Array(SERIAL_BYTES);
  random.fill(serial);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // Positive, and never shorter.
  const algorithm = der.sequence(der.objectIdentifier(ECDSA_WITH_SHA256));
  const subject = der.sequence(
    der.setOf(der.sequence(der.objectIdentifier(COMMON_NAME), der.utf8String(name))),
  );
  const content = der.sequence(
    der.tagged(0xa0, der.integer(Uint8Array.of(2))), // Version 3.
    der.integer(serial),
    algorithm,
    subject,
    der.sequence(
      der.time(options.validFromMs ?? VALID_FROM_MS),
      der.time(options.validToMs ?? wallMs + VALID_YEARS * YEAR_MS),
    ),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der.tagged(0xa3, extensions(name)),
  );
  const signature = sign('sha256', content, { key: privateKey, dsaEncoding: 'der' });
  const certificate = der.sequence(content, algorithm, der.bitString(signature));
  return {
    certificates: pem('CERTIFICATE', certificate),
    key: new TextEncoder().encode(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string),
    fingerprint: sha256(certificate),
  };
}

/** An identity as it was kept in files; fails unless certificate and key belong together. */
export function loadIdentity({ certificates, key }: TlsIdentity): NodeIdentity {
  try {
    const certificate = new X509Certificate(certificates);
    if (!certificate.checkPrivateKey(createPrivateKey(Buffer.from(key)))) {
      throw new Error('the certificate is for another key');
    }
    return { certificates, key, fingerprint: sha256(certificate.raw) };
  } catch (cause) {
    const why = messageOf(cause);
    throw new WireError('WIRE_FORMAT', `the identity of this node cannot be used: ${why}`, {
      hint: 'Restore its files, or make a new one and pair again.',
      cause,
    });
  }
}

function extensions(name: string): Uint8Array {
  const extension = (id: string, isCritical: boolean, value: Uint8Array) =>
    der.sequence(
      der.objectIdentifier(id),
      ...(isCritical ? [der.booleanTrue] : []),
      der.octetString(value),
    );
  const purposes = [SERVER_AUTHENTICATION, CLIENT_AUTHENTICATION].map(der.objectIdentifier);
  return der.sequence(
    extension(BASIC_CONSTRAINTS, true, der.sequence()), // No authority over others.
    extension(KEY_USAGE, true, der.bitString(Uint8Array.of(0x80), 7)), // Digital signature.
    extension(EXTENDED_KEY_USAGE, false, der.sequence(...purposes)),
    extension(
      SUBJECT_ALTERNATIVE_NAME,
      false,
      der.sequence(der.tagged(0x82, new TextEncoder().encode(name))),
    ),
  );
}

function pem(label: string, bytes: Uint8Array): Uint8Array {
  const lines = Buffer.from(bytes)
    .toString('base64')
    .match(/.{1,64}/g)!;
  const text = [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''];
  return new TextEncoder().encode(text.join('\n'));
}
