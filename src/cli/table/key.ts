/** The command about the passwords of an encrypted repository. */
import { type ArgumentSpec, entry, optionalArgument, type TableEntry, text } from '../spec.ts';

const actions = ['list', 'add', 'remove', 'export'] as const;
type Action = (typeof actions)[number];

const action: ArgumentSpec<Action> = {
  placeholder: actions.join('|'),
  help: 'what to do',
  parse: ([word]) => {
    const found = actions.find((each) => each === word);
    if (found !== undefined) return found;
    throw new Error(`expected ${actions.join(', ')}, not '${word}'`);
  },
};

export const keySpec = {
  name: 'key',
  summary: 'list, add and remove passwords of an encrypted repository',
  details: [
    'Each key holds the same master key under a password of its own. `add` takes the new password',
    'from FERRY_NEW_PASSWORD, FERRY_NEW_PASSWORD_FILE, FERRY_NEW_PASSWORD_COMMAND or the terminal.',
    '`remove` refuses the last one. `export` prints a recovery form, which opens the repository',
    'without any password: print it and lock it away. `add --recovery FILE` takes it instead of a',
    'password; - reads it from stdin.',
  ].join('\n'),
  arguments: { action, key: optionalArgument('ID', 'for remove: the key, or its first digits') },
  options: {
    label: text('TEXT', 'for add: a name that tells keys apart, stored in clear'),
    recovery: text('FILE', 'for add: open the repository with its recovery form', {
      completes: 'file',
    }),
  },
  examples: [
    'ferry key list',
    'ferry key add --label laptop',
    'ferry key remove 1f3a',
    'ferry key export',
    'ferry key add --recovery form.txt',
  ],
} as const;

export const keyCommands: readonly TableEntry[] = [
  entry(keySpec, () => import('../commands/key.ts')),
];
