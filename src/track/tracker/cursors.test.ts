/** Goal: in every order of cuts and ends of two consumers, each is told all that it lacks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cursors } from './cursors.ts';
import { CONSUMERS_MAX, EPOCHS_BEHIND_MAX } from './limits.ts';
import type { Cursor } from './state.ts';

const steps = ['write', 'cut a', 'ack a', 'drop a', 'cut b', 'ack b', 'drop b'] as const;
const DEPTH = 6;

function cursorOf(consumer: string, epoch: number): Cursor {
  return { consumer, volume: 'vm', tracker: 't', epoch, snapshot: 's', digest: 'd' };
}

/** What the tracker does with its sets, with numbers of writes for marks. */
class Machine {
  readonly cursors = new Cursors([], [], []);
  readonly #sets = new Map<string, readonly number[]>();
  #active: number[] = [];
  #epoch = 1;
  #writes = 0;
  readonly #open = new Map<string, number>();
  /** Model: how many writes each consumer's cut, and its snapshot, contain. */
  readonly #atCut = new Map<string, number>();
  readonly #holds = new Map<string, number>();
  readonly #moved: (machine: Machine, consumer: string, epoch: number) => void;

  constructor(moved: (machine: Machine, consumer: string, epoch: number) => void) {
    this.#moved = moved;
  }

  take(step: (typeof steps)[number]): void {
    const [verb, who = ''] = step.split(' ');
    if (verb === 'write') this.#active.push(++this.#writes);
    else if (verb === 'cut') this.#cut(who);
    else this.#end(who, verb === 'ack');
  }

  #cut(who: string): void {
    if (this.#open.has(who)) return;
    const joined = this.cursors.joins(this.#epoch);
    const before = joined === undefined ? [] : this.#sets.get(`${joined.from}-${joined.to}`)!;
    const sealed = { from: joined?.from ?? this.#epoch, to: this.#epoch };
    this.#sets.set(`${sealed.from}-${sealed.to}`, [...before, ...this.#active]);
    this.cursors.seal(sealed);
    this.#epoch++;
    this.#active = [];
    this.cursors.pin(this.#epoch);
    this.#open.set(who, this.#epoch);
    this.#atCut.set(who, this.#writes);
  }

  #end(who: string, isCommitted: boolean): void {
    const epoch = this.#open.get(who);
    if (epoch === undefined) return;
    this.#open.delete(who);
    if (isCommitted) {
      this.#moved(this, who, epoch);
      this.#holds.set(who, this.#atCut.get(who)!);
    }
    this.cursors.unpin(epoch);
    for (const { from, to } of this.cursors.tidy()) this.#sets.delete(`${from}-${to}`);
  }

  /** Every consumer that holds something can be told all writes since, in any number of steps. */
  check(): void {
    for (const [who, held] of this.#holds) {
      const cursor = this.cursors.get(who);
      assert(cursor !== undefined, `${who} has no cursor`);
      const chain = this.cursors.chain(cursor.epoch, this.#epoch);
      assert(chain !== undefined, `${who} at ${cursor.epoch} has no chain`);
      const told = chain.flatMap(({ from, to }) => this.#sets.get(`${from}-${to}`) ?? [Number.NaN]);
      const missing = [];
      for (let write = held + 1; write <= this.#writes; write++) {
        if (![...told, ...this.#active].includes(write)) missing.push(write);
      }
      assert.deepEqual(missing, [], `${who} would never hear of writes`);
      assert(!told.includes(Number.NaN), 'a set in the chain is gone');
    }
    for (const epoch of this.#open.values()) {
      assert(this.cursors.chain(epoch, this.#epoch) !== undefined, 'an open cut lost its border');
    }
    assert(this.cursors.sealed.length <= 5, 'sets pile up');
  }
}

const moves = (machine: Machine, who: string, epoch: number) =>
  machine.cursors.move(cursorOf(who, epoch));

/** The first history of up to DEPTH steps after which a check fails. */
function explore(moved: (machine: Machine, consumer: string, epoch: number) => void) {
  let count = 0;
  const walk = (history: readonly (typeof steps)[number][]): string | undefined => {
    const machine = new Machine(moved);
    for (const step of history) machine.take(step);
    count++;
    try {
      machine.check();
    } catch (error) {
      return `${history.join(', ')}: ${(error as Error).message}`;
    }
    if (history.length === DEPTH) return undefined;
    for (const step of steps) {
      const failure = walk([...history, step]);
      if (failure !== undefined) return failure;
    }
    return undefined;
  };
  return { failure: walk([]), count };
}

test('whatever two consumers do, each can be told all that it does not hold', () => {
  const { failure, count } = explore(moves);
  assert.equal(failure, undefined);
  assert.ok(count > 100_000);
});

test('an acknowledgement that moves somebody else is found', () => {
  const { failure } = explore((machine, _who, epoch) => {
    for (const who of ['a', 'b']) {
      if (who === _who || machine.cursors.get(who)) machine.cursors.move(cursorOf(who, epoch));
    }
  });
  assert.match(String(failure), /would never hear of writes/);
});

test('with one consumer too many, the one that is furthest behind goes, and is told why', () => {
  const cursors = new Cursors([], [], []);
  for (let at = 0; at < CONSUMERS_MAX; at++) cursors.move(cursorOf(`c${at}`, 10 + at));
  cursors.move(cursorOf('c0', 50)); // Not a new one.
  assert.equal(cursors.all().length, CONSUMERS_MAX);
  cursors.move(cursorOf('new', 60));
  assert.equal(cursors.get('c1'), undefined);
  assert.equal(cursors.whyBroken('c1')?.reason, 'fell-behind');
  assert.equal(cursors.all().length, CONSUMERS_MAX);
  cursors.leaveBehind(50 + EPOCHS_BEHIND_MAX + 1);
  assert.deepEqual(
    cursors.all().map(({ consumer }) => consumer),
    ['new'],
  );
});
