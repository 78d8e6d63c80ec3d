/** The command table: help, completion and the lazy loading of commands all come from it. */
import type { TableEntry } from '../spec.ts';
import { backupCommands } from './backup.ts';
import { copyCommands } from './copy.ts';
import { imageCommands } from './images.ts';
import { keyCommands } from './key.ts';
import { nbdCommands } from './nbd.ts';
import { providerCommands } from './provider.ts';
import { replicationCommands } from './replication.ts';
import { repositoryCommands } from './repository.ts';
import { retentionCommands } from './retention.ts';
import { servingCommands } from './serving.ts';
import { shellCommands } from './shell.ts';

export type CommandGroup = { readonly title: string; readonly entries: readonly TableEntry[] };

/** In the order of help. */
export const commandGroups: readonly CommandGroup[] = [
  { title: 'Backup', entries: backupCommands },
  { title: 'Serving', entries: [...servingCommands, ...nbdCommands] },
  { title: 'Replication', entries: [...replicationCommands, ...providerCommands] },
  { title: 'Repository', entries: [...repositoryCommands, ...copyCommands, ...keyCommands] },
  { title: 'Retention', entries: retentionCommands },
  { title: 'Images', entries: imageCommands },
  { title: 'Shell', entries: shellCommands },
];
