/** Finds a module beside another one, as source in the clone or as plain JS in the package. */

/** `name` has no extension; `base` is the `import.meta.url` of the module that it lies beside. */
export function siblingModule(base: string, name: string): URL {
  return new URL(`./${name}${base.endsWith('.ts') ? '.ts' : '.js'}`, base);
}
