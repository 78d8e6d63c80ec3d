/**
 * Loaded before the tests (`--import`): keeps node:test from watching every promise, which takes
 * half of the time of tests that make many (docs/decisions/test-hooks.md).
 */
import { createHook } from 'node:async_hooks';

const hooks = Object.getPrototypeOf(createHook({}));
const { enable } = hooks;
// The runner's own is the first that is enabled; whoever comes after it has what Node gives.
hooks.enable = function () {
  hooks.enable = enable;
  return this;
};
