/** House rule: which file may import what, and who may talk to the host. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** The folders of src/, lowest first. */
const layers = [
  ...['core', 'objects', 'device', 'nbd', 'codec', 'store', 'fs', 'track'],
  ...['classify', 'predict', 'wire', 'transfer', 'service', 'cli'],
];
const see = '(layers run downwards; see docs/architecture.md)';

/** Folders with more than one face: journeys, and what is not loaded where it is of no use. */
const faces: Readonly<Record<string, RegExp>> = {
  transfer: /^(?:[a-z-]+\/)?index\.ts$/,
  fs: /^(?:ntfs\/)?index\.ts$/,
  track: /^(?:ntfs\/)?index\.ts$/,
};

/** Modules without clock, randomness, disk, network or threads: they need no Env. */
const pureModules = new Set(
  'assert assert/strict buffer crypto events module path string_decoder url util zlib'.split(' '),
);
const hostGlobals = new RegExp(
  [
    /\b(?:Date\.now|Math\.random|performance\.now|random(?:Bytes|UUID))\b/,
    /\bset(?:Timeout|Interval|Immediate)\(|\bnew Date\(\)/,
  ]
    .map((part) => part.source)
    .join('|'),
);

/** `./x`, the `from` or the side-effect or the dynamic kind of import, or `new URL('./x', ...)`. */
const imports = /(?:\bfrom\s*|\bimport\s*\(?\s*|\bnew URL\(\s*)(['"])([^'"\n]+)\1/g;

const isTest = (file: string) =>
  /\.(?:test|long|suite)\.ts$/.test(file) || /(^|\/)fixtures?\//.test(file);

/** Why `file` may not import `specifier`, or undefined if it may. */
function importProblem(file: string, specifier: string): string | undefined {
  if (specifier.startsWith('.'))
    return pathProblem(file, normalize(join(dirname(file), specifier)));
  const [, layer = ''] = file.split('/');
  const isHostSide = file.startsWith('src/core/node/') || layer === 'cli';
  if (!file.startsWith('src/') || isTest(file) || isHostSide || !specifier.startsWith('node:'))
    return;
  if (pureModules.has(specifier.slice(5))) return;
  return `only src/core/node may import ${specifier} (take it from Env; see docs/architecture.md)`;
}

function pathProblem(file: string, target: string): string | undefined {
  const [top = '', layer = ''] = file.split('/');
  const [targetTop = '', targetLayer = '', ...inside] = target.split('/');
  if (targetTop === 'sim' && top !== 'sim' && !isTest(file)) {
    return `${top === 'src' ? layer : top} may not import sim (only sim and tests do)`;
  }
  if (top !== 'src' || targetTop !== 'src') return undefined;
  if (layer === targetLayer) return journeyProblem(layer, file.split('/')[2]!, inside[0]!);
  if (isTest(file) && inside.at(-1)?.endsWith('.suite.ts')) return undefined;
  if (layers.indexOf(targetLayer) > layers.indexOf(layer)) {
    return `${layer} may not import ${targetLayer} ${see}`;
  }
  if ((faces[targetLayer] ?? /^index\.ts$/).test(inside.join('/'))) return undefined;
  return `${layer} may import ${targetLayer} only through its index.ts ${see}`;
}

/** The folders inside transfer/ are siblings that share only what lies in transfer/ itself. */
function journeyProblem(layer: string, own: string, other: string): string | undefined {
  if (layer !== 'transfer' || own === other) return undefined;
  if (own.endsWith('.ts') || other.endsWith('.ts')) return undefined;
  return `transfer/${own} may not import transfer/${other} (what they share lies in transfer/)`;
}

/** All breaches in one file's text, as `file:line: why`. */
export function layerProblems(file: string, text: string): string[] {
  const problems: string[] = [];
  const say = (index: number, why: string | undefined) => {
    if (why !== undefined)
      problems.push(`${file}:${text.slice(0, index).split('\n').length}: ${why}`);
  };
  // Comments are blanked, not cut, so that the line numbers stay.
  const code = text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*/g, (found) =>
    found.replace(/[^\n]/g, ' '),
  );
  for (const { index, 2: specifier } of code.matchAll(imports)) {
    say(index, importProblem(file, specifier!));
  }
  if (/^src\/(?!core\/node\/)/.test(file) && !isTest(file)) {
    for (const [number, line] of code.split('\n').entries()) {
      const found = hostGlobals.exec(line.replace(/(['"`]).*?\1/g, ''));
      if (found === null) continue;
      problems.push(`${file}:${number + 1}: ${found[0]} is the host's (take it from Env)`);
    }
  }
  return problems;
}

if (import.meta.main) {
  const files = globSync('{src,sim,test,bench,scripts}/**/*.ts');
  const problems = files.sort().flatMap((file) => layerProblems(file, readFileSync(file, 'utf8')));
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}
