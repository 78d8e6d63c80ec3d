/**
 * Node's own modules as the bundle has them: taken as they are. The ES module that Node makes of
 * one copies all that it exports, and so loads what is loaded lazily (node:fs has such streams).
 */
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';

const PREFIX = 'node:';

const lazyAssert = join(import.meta.dirname, 'lazy-assert.ts');

/** Loaded when something of it is used: one run in many needs them. */
const lazy = new Set(['node:v8', 'node:vm']);

export const builtins: Plugin = {
  name: 'builtins',
  setup(build) {
    const names = new Set(builtinModules.map((name) => PREFIX + name.replace(PREFIX, '')));
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) => {
      // What is `require`d by a package goes by the banner.
      if (kind === 'require-call' || !names.has(path)) return undefined;
      if (path === 'node:assert/strict') return { path: lazyAssert };
      return { path, namespace: 'builtin' };
    });
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      const keys = Object.keys(process.getBuiltinModule(path) ?? {});
      return { contents: lazy.has(path) ? lazyModule(path, keys) : plainModule(path, keys) };
    });
  },
};

/** Of its exports only those stay that something imports. */
function plainModule(path: string, keys: readonly string[]): string {
  const named = keys.filter(isName).map((key) => {
    return `export const ${key} = /* @__PURE__ */ $of(${JSON.stringify(key)});`;
  });
  return [
    `const $builtin = process.getBuiltinModule(${JSON.stringify(path)});`,
    'const $of = (name) => $builtin[name];',
    'export default $builtin;',
    ...named,
  ].join('\n');
}

function lazyModule(path: string, keys: readonly string[]): string {
  const module = `process.getBuiltinModule(${JSON.stringify(path)})`;
  const getters = keys.map((key) => `get ${JSON.stringify(key)}() { return ${module}.${key}; },`);
  return `export default {\n${getters.join('\n')}\n};`;
}

/** `constants` and the like; no reserved words. */
function isName(key: string): boolean {
  return /^[A-Za-z_$][\w$]*$/.test(key) && !reserved.has(key);
}

const reserved = new Set(['default', 'delete', 'import', 'new', 'in']);
