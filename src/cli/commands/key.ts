/** `ferry key`: the passwords of an encrypted repository. */
import type { KeyInfo, Repository } from '../../store/index.ts';
import { openRepository } from '../../transfer/repository/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { formatTime, repositoryOf } from '../repository.ts';
import { readSecretFile } from '../secrets.ts';
import { requireRepository } from '../settings.ts';
import type { Run, Values } from '../spec.ts';
import type { keySpec } from '../table/key.ts';
import { textTable } from '../text-table.ts';

type KeyValues = Values<typeof keySpec>;

export const run: Run<typeof keySpec> = async (context, values) => {
  const { action, key, label, recovery } = values;
  if ((key !== undefined) !== (action === 'remove')) {
    const problem = key === undefined ? 'remove needs the ID of a key' : `${action} takes no ID`;
    throw usageError(problem, 'ferry key');
  }
  if (action !== 'add' && (label ?? recovery) !== undefined) {
    throw usageError('--label and --recovery belong to add', 'ferry key');
  }
  await using repository = await opened(context, values);
  if (action === 'list') await list(context, repository);
  else if (action === 'add') await add(context, repository, label);
  else if (action === 'remove') await remove(context, repository, key!);
  else exportForm(context, repository);
};

/** With the recovery form, if there is one, instead of a password. */
async function opened(context: Context, { recovery }: KeyValues): Promise<Repository> {
  if (recovery === undefined) return repositoryOf(context);
  const recoveryForm = await readSecretFile('--recovery', recovery);
  const location = requireRepository(context.settings);
  return openRepository(context.env, location, { secret: async () => ({ recoveryForm }) });
}

async function list({ output }: Context, { keys }: Repository): Promise<void> {
  const all = await keys.list();
  const rows = all.map(({ id, created, label }) => [id, formatTime(created), label ?? '']);
  const columns = [{ title: 'KEY' }, { title: 'CREATED' }, { title: 'LABEL' }];
  if (output.options.json) for (const key of all) output.item('key', fieldsOf(key), '');
  else output.text(textTable(columns, rows));
  output.summary({ keys: all.length }, '');
}

function fieldsOf({ id, created, label }: KeyInfo) {
  return { id, created, label: label ?? null };
}

async function add(
  { env, output, secrets }: Context,
  { keys }: Repository,
  label: string | undefined,
): Promise<void> {
  const password = await secrets.newPassword('FERRY_NEW_PASSWORD');
  const created = new Date(env.clock.wallMs()).toISOString();
  const key = await keys.add({ password, created, label });
  output.summary(fieldsOf(key), `added key ${key.id}: its password opens the repository`);
}

async function remove({ output }: Context, { keys }: Repository, prefix: string): Promise<void> {
  const key = await keys.remove(prefix);
  output.summary(
    fieldsOf(key),
    `removed key ${key.id}: its password opens the repository no more\n` +
      'whoever has a copy of the removed key and its password can still read everything',
  );
}

function exportForm({ output }: Context, { keys, superblock }: Repository): void {
  const { repositoryId } = superblock;
  const recoveryForm = keys.recoveryForm();
  const lines = [
    `Recovery form of the Blockferry repository ${repositoryId}`,
    '',
    ...rowsOf(recoveryForm).map((row) => `    ${row}`),
    '',
    'Whoever has it can read and change everything in the repository, whatever its passwords are.',
    'Print it, lock it away, and keep no copy on this machine. If all passwords are lost, type it',
    'into a file and set a new password with:',
    '',
    '    ferry key add --recovery FILE',
  ];
  output.item('recovery', { repositoryId, recoveryForm }, lines.join('\n'));
}

/** Seven groups of four a line: half of the form. */
function rowsOf(form: string): string[] {
  const groups = form.split('-');
  const half = groups.length / 2;
  return [groups.slice(0, half).join('-'), groups.slice(half).join('-')];
}
