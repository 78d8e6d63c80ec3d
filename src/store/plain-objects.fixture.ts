/** For tests: the object store of a repository that is not encrypted. */
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import { plainSealer, type SealedObjects, sealedObjects } from './sealer.ts';

export function plainObjects(objects: ObjectStore): SealedObjects {
  return sealedObjects(objects, plainSealer);
}

export function plainMemory(name: string): SealedObjects {
  return plainObjects(memoryStore(name));
}
