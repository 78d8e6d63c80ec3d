/** What `s3://BUCKET/PREFIX` names; addresses with a password in them are refused unseen. */
import { ObjectError } from './object-store.ts';

export type S3Location = {
  readonly bucket: string;
  /** Ends in a slash unless it is empty. */
  readonly prefix: string;
};

/** A key has at most 1,024 bytes, of which an object's name takes 200. */
const PREFIX_BYTES_MAX = 512;

/** Wider than AWS allows today: older buckets and other servers have capitals and underscores. */
const bucketForm = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/;

/** What needs no escaping anywhere; `.` and `..` are refused below. */
const segmentForm = /^[A-Za-z0-9!_.*'()+=-]+$/;

export function isS3Location(location: string): boolean {
  return /^s3:\/\//i.test(location);
}

export function parseS3Location(location: string): S3Location {
  const [bucket = '', ...segments] = location.slice('s3://'.length).replace(/\/+$/, '').split('/');
  if (/[@:]/.test(bucket)) {
    // Not shown: it may well be a secret.
    throw nameError('an S3 address has a bucket behind s3://, no user, password or port', {
      hint: 'Credentials come from AWS_ACCESS_KEY_ID or ~/.aws, the server from --endpoint.',
    });
  }
  if (!bucketForm.test(bucket)) throw nameError(`${location} does not name a bucket`, form);
  const prefix = segments.map((segment) => `${segment}/`).join('');
  const good = (segment: string) =>
    segmentForm.test(segment) && segment !== '.' && segment !== '..';
  if (!segments.every(good) || prefix.length > PREFIX_BYTES_MAX) {
    throw nameError(`${location}: its prefix cannot be used`, form);
  }
  return { bucket, prefix };
}

/** The address of the server; it must not hold a password, which would end up in messages. */
export function checkEndpoint(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw nameError('the endpoint is not an http:// or https:// address', endpointForm);
  }
  if (url.username !== '' || url.password !== '') {
    throw nameError('the endpoint must not hold a user or a password', endpointForm);
  }
}

const form = {
  hint: "Write s3://BUCKET or s3://BUCKET/PREFIX, with letters, digits and ._-+='()!*.",
};
const endpointForm = { hint: 'Write it like http://127.0.0.1:9000; credentials are never in it.' };

function nameError(message: string, options: { readonly hint: string }): ObjectError {
  return new ObjectError('OBJECT_NAME', message, options);
}
