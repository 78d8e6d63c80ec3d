/** What the bundle has for node:assert: loads that at the first assertion that fails. */

const real = () => process.getBuiltinModule('node:assert/strict');

// biome-ignore lint/style/noDefaultExport: node:assert has one.
export default function assert(value: unknown, message?: string | Error): asserts value {
  if (!value) real().fail(message ?? 'an assertion does not hold');
}

export function fail(message: string): never {
  return real().fail(message);
}

assert.fail = fail;
