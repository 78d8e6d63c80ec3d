/** Tells the URI of an NBD export from a path: nobody has to load NBD's code to know. */

export function isUri(text: string): boolean {
  return /^nbds?(\+unix|\+vsock)?:/i.test(text);
}
