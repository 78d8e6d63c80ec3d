/**
 * Node's own modules as the bundle has them: taken as they are. The ES module that Node makes of
 * one copies all that it exports, and so loads what is loaded lazily (node:fs has such streams).
 */
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';

const PREFIX = 'node:';

const lazyAssert = join(import.meta.dirname, 'lazy-assert.ts');

/** Loaded when something of it is used: one run in many needs them, and no thread of a codec. */
const lazy = new Set([
  'node:child_process',
  'node:dgram',
  'node:fs/promises',
  'node:net',
  'node:v8',
  'node:vm',
]);

export const builtins: Plugin = {
  name: 'builtins',
  setup(build) {
    const names = new Set(builtinModules.map((name) => PREFIX + name.replace(PREFIX, '')));
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) => {
      // What is `require`d by a package goes by the banner, unless it can wait.
      if (!names.has(path) || (kind === 'require-call' && !lazy.has(path))) return undefined;
      if (path === 'node:assert/strict') return { path: lazyAssert };
      return { path, namespace: 'builtin' };
    });
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      const exported = process.getBuiltinModule(path) ?? {};
      return { contents: (lazy.has(path) ? lazyModule : plainModule)(path, exported) };
    });
  },
};

/** Of its exports only those stay that something imports. */
function plainModule(path: string, exported: object): string {
  const named = Object.keys(exported)
    .filter(isName)
    .map((key) => `export const ${key} = /* @__PURE__ */ $of(${JSON.stringify(key)});`);
  return [
    `const $builtin = process.getBuiltinModule(${JSON.stringify(path)});`,
    'const $of = (name) => $builtin[name];',
    'export default $builtin;',
    ...named,
  ].join('\n');
}

/**
 * What is called or made; of anything else there is the default export alone. What stands for a
 * class makes the real one's objects: nothing can inherit from it, or ask for `instanceof`.
 */
function lazyModule(path: string, exported: object): string {
  const keys = Object.keys(exported);
  const module = `process.getBuiltinModule(${JSON.stringify(path)})`;
  const getters = keys.map((key) => `get ${JSON.stringify(key)}() { return ${module}.${key}; },`);
  const named = Object.entries(exported)
    .filter(([key, value]) => isName(key) && typeof value === 'function')
    .map(([key]) => {
      const real = `(${module}.${key})(...words)`;
      return `export function ${key}(...words) { return new.target ? new ${real} : ${real}; }`;
    });
  return [`export default {\n${getters.join('\n')}\n};`, ...named].join('\n');
}

/** `constants` and the like; no reserved words. */
function isName(key: string): boolean {
  return /^[A-Za-z_$][\w$]*$/.test(key) && !reserved.has(key);
}

const reserved = new Set(['default', 'delete', 'import', 'new', 'in']);
