/** `ferry audit`: doubts what a source of changes says, and heals if it was wrong. */
import { auditWords } from '../../track/index.ts';
import { auditVolume } from '../../transfer/backup/index.ts';
import { openBackupSource } from '../backup-source.ts';
import { exitStatus } from '../exit-codes.ts';
import { repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { auditSpec } from '../table/backup.ts';
import { auditFields, trustOf, warnOfTrust } from '../trust.ts';

export const run: Run<typeof auditSpec> = async (context, values) => {
  const { source, name, audit } = values;
  const { env, output, signal } = context;
  await using from = await openBackupSource(context, source, values);
  await using repository = await repositoryOf(context);
  const volume = name ?? from.volume;
  const result = await auditVolume(env, repository, from.device, {
    volume,
    origin: from.origin,
    sources: from.changeSources(repository, volume),
    choice: 'auto',
    trust: await trustOf(context, volume),
    auditShare: audit,
    signal,
  });
  const { healed, report, passed } = result;
  const said = passed.map(({ source, reason: code, why }) => ({ source, code, why }));
  if (healed !== undefined) {
    warnOfTrust(output, healed);
    output.summary(
      { volume, ...auditFields(healed), passed: said, healed: snapshotFields(healed.snapshot) },
      `${volume}: healed by ${snapshotName(healed.snapshot)}`,
    );
    return exitStatus.untoldChange;
  }
  const lines = passed.map((one) => `  passed   ${one.source}: ${one.why}`);
  const words =
    report === undefined
      ? 'nobody claims to know what changed: there is nothing to doubt'
      : `${result.source}: ${auditWords(report)}`;
  output.summary(
    {
      volume,
      source: result.source,
      ...auditFields({ audit: report, untoldBy: undefined }),
      passed: said,
    },
    [`${volume}: ${words}`, ...lines].join('\n'),
  );
  return exitStatus.done;
};
