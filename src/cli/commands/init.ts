/** `ferry init`: makes a repository. */
import { isSingleWriter, setParity } from '../../store/index.ts';
import { initRepository, openRepository } from '../../transfer/repository/index.ts';
import { usageError } from '../errors.ts';
import { s3Of } from '../repository.ts';
import { requireRepository } from '../settings.ts';
import { formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { initSpec } from '../table/repository.ts';

export const run: Run<typeof initSpec> = async (context, { chunkSize, encrypt, label, parity }) => {
  const { env, output, settings, secrets } = context;
  const location = requireRepository(settings);
  if (!encrypt) checkPlain(secrets.isGiven, label);
  const key = encrypt && { password: await secrets.newPassword('FERRY_PASSWORD'), label };
  const made = await initRepository(env, location, {
    chunkBytes: chunkSize,
    ...(key && { key }),
    s3: s3Of(context, false),
  });
  if (parity !== undefined) {
    const open = key === false ? {} : { secret: async () => ({ password: key.password }) };
    await using repository = await openRepository(env, location, {
      ...open,
      s3: s3Of(context, false),
    });
    await setParity(repository, parity);
  }
  const { repositoryId, chunkBytes, created } = made;
  const singleWriter = isSingleWriter(made);
  if (singleWriter) output.warn(oneWriter);
  output.summary(
    { repositoryId, chunkBytes, created, singleWriter, encrypted: encrypt, parity: parity ?? 0 },
    `made repository ${repositoryId.slice(0, 8)} in ${location}, chunks of ` +
      `${formatSizeExact(chunkBytes)}${encrypt ? `, encrypted\n${advice}` : ''}`,
  );
};

const oneWriter =
  'this server overwrites objects although it was asked not to (If-None-Match): only this host ' +
  'may write to the repository; another one takes it over with --takeover';
const advice =
  'without the password nothing in it can be read again: print what `ferry key export` shows';

/** Whoever gives a password expects encryption. */
function checkPlain(isGiven: boolean, label: string | undefined): void {
  if (label !== undefined) throw usageError('--label belongs to --encrypt', 'ferry init');
  if (!isGiven) return;
  throw usageError(
    'a password is set in the environment: add --encrypt, or unset it',
    'ferry init',
  );
}
