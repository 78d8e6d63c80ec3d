/** The ladder: asks the sources in order of cost, and says of each one passed over why. */
import {
  type CannotSay,
  type CannotSayReason,
  CHANGE_SOURCES,
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSet,
  type ChangeSource,
  type ChangeSourceName,
  cannotSay,
  type Everything,
  type Finish,
} from './change-source.ts';
import { TrackError } from './errors.ts';

/** `auto`, or one source and no other. */
export type ChangeChoice = 'auto' | ChangeSourceName;

export const CHANGE_CHOICES: readonly ChangeChoice[] = ['auto', ...CHANGE_SOURCES];

export type LadderOptions = {
  readonly choice: ChangeChoice;
  /**
   * Why a source is not believed for this volume, in words; undefined if it is. A source that is
   * not believed is asked all the same, so that it goes on watching, and its answer is not used.
   */
  readonly distrust?: (source: ChangeSourceName) => string | undefined;
};

export type Found = {
  readonly answer: ChangeSet | Everything;
  /** Who was asked before and could not say, in that order. */
  readonly passed: readonly CannotSay[];
  /** What to read: the moment that the answer, or a source that was passed over, speaks of. */
  readonly view: ChangeSet['view'];
  /** Tells everybody who was asked, once. Rejects after all were told, with the first failure. */
  readonly finish: Finish;
};

/**
 * With a `choice` other than `auto` only that source is asked, and TRACK_CANNOT_SAY thrown if it
 * cannot say; except for a volume's first snapshot, where nobody can, and everything is read.
 * `sources` in any order; there may be several of one name.
 */
export async function findChanges(
  sources: readonly ChangeSource[],
  question: ChangeQuestion,
  options: LadderOptions,
): Promise<Found> {
  const answers: ChangeAnswer[] = [];
  const finish = finisher(answers);
  try {
    const answer = await climb(sources, question, options, answers);
    const passed = answers.filter((given) => given.kind === 'cannot-say');
    return { answer, passed, view: viewOf(answers[viewed(answers)]), finish };
  } catch (error) {
    await finish({ kind: 'failed' }).catch(() => undefined); // The error that led here counts.
    throw error;
  }
}

async function climb(
  sources: readonly ChangeSource[],
  question: ChangeQuestion,
  { choice, distrust }: LadderOptions,
  answers: ChangeAnswer[],
): Promise<ChangeSet | Everything> {
  const isFirst = question.since === undefined;
  for (const source of inOrder(sources)) {
    const isWanted = choice === 'auto' ? source.name !== 'full' || isFirst : source.name === choice;
    const isLast = isFirst && source.name === 'full';
    if (!isWanted && !isLast && source.givesMoment !== true) continue;
    question.signal?.throwIfAborted();
    const doubt = isWanted || isLast ? distrust?.(source.name) : `${choice} was chosen`;
    const readsAll = doubt !== undefined;
    const answer = await source.changes(readsAll ? { ...question, readsAll } : question);
    answers.push(answer);
    if (answer.kind === 'cannot-say') continue;
    if (doubt === undefined) return answer;
    answers[answers.length - 1] = unused(answer, isWanted ? 'untrusted' : 'unwanted', doubt);
  }
  throw nobodyKnows(choice, question, answers);
}

function inOrder(sources: readonly ChangeSource[]): ChangeSource[] {
  const rank = (source: ChangeSource) => CHANGE_SOURCES.indexOf(source.name);
  return sources.toSorted((a, b) => rank(a) - rank(b));
}

/** Its moment is kept: what is committed of it is where the source goes on from. */
function unused(answer: ChangeSet | Everything, reason: CannotSayReason, why: string): CannotSay {
  const { source, finish } = answer;
  if (answer.kind === 'everything') return cannotSay(source, reason, why, { finish });
  const { view, changed: claimed } = answer;
  return cannotSay(source, reason, why, { finish, claimed, ...(view && { view }) });
}

/** Which answer's moment is read, if it is not the device as it is: the latest that was offered. */
function viewed(answers: readonly ChangeAnswer[]): number {
  if (answers.at(-1)?.kind === 'changes') return answers.length - 1;
  return answers.findLastIndex((answer) => 'view' in answer);
}

function viewOf(answer: ChangeAnswer | undefined): ChangeSet['view'] {
  return answer !== undefined && 'view' in answer ? answer.view : undefined;
}

/**
 * Whoever was asked after the moment that is read has begun to watch later than that: what was
 * written in between it would never tell. To them the run has failed, and they begin another time.
 */
function finisher(answers: readonly ChangeAnswer[]): Finish {
  return async (outcome) => {
    const moment = viewed(answers);
    const isLate = (index: number) => moment >= 0 && index > moment;
    const ends = await Promise.allSettled(
      answers.map((answer, at) => answer.finish?.(isLate(at) ? { kind: 'failed' } : outcome)),
    );
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  };
}

function nobodyKnows(
  choice: ChangeChoice,
  { volume }: ChangeQuestion,
  answers: readonly ChangeAnswer[],
): TrackError {
  const said = answers
    .filter((answer) => answer.kind === 'cannot-say')
    .filter(({ source }) => choice === 'auto' || source === choice);
  const hint = 'Leave --changes out, and the next best source is taken.';
  if (said.length === 0) {
    const message = `${choice} is no source of changes for ${volume}`;
    return new TrackError('TRACK_SOURCE', message, { hint });
  }
  const why = said.map((answer) => `${answer.source}: ${answer.why}`).join('; ');
  const message = `what changed of ${volume} cannot be said by ${why}`;
  return new TrackError('TRACK_CANNOT_SAY', message, { hint });
}
