import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'

import { describe, expect, test, vi } from 'vitest'

import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import { ManualClock } from '../testing/clock.ts'
import type { WaitErrors } from './deadlines.ts'
import { Deadlines } from './deadlines.ts'

const never = new Promise<never>(() => {})
const errors: WaitErrors = { late: () => new Error('late'), explain: (_operation, error) => error as Error }

/** Deadlines by a clock that begins at 0; `outcome` tells how a wait has ended so far. */
function setUp() {
  const clock = new ManualClock(0)
  const deadlines = new Deadlines(clock, errors)
  const wait = (work: Promise<unknown>, until: number): { outcome: unknown } => {
    const seen: { outcome: unknown } = { outcome: 'waiting' }
    deadlines.within(work, until, 'load').then(
      (value) => (seen.outcome = value),
      (error: Error) => (seen.outcome = error.message),
    )
    return seen
  }
  return { clock, deadlines, wait }
}

describe('waiting ends', () => {
  test('with the work, whatever comes of it', async () => {
    const { deadlines } = setUp()
    await expect(deadlines.within(Promise.resolve(1), 100, 'load')).resolves.toBe(1)
    await expect(deadlines.within(Promise.reject(new Error('broken')), 100, 'load')).rejects.toThrow('broken')
  })

  test('at the deadline, and at most 50 ms after it', async () => {
    const { clock, wait } = setUp()
    const short = wait(never, 101)
    const long = wait(never, 1000)
    await clock.advance(100)
    expect(short.outcome).toBe('waiting')
    await clock.advance(51)
    await nextTurn()
    expect([short.outcome, long.outcome]).toEqual(['late', 'waiting'])
    await clock.advance(900)
    await nextTurn()
    expect(long.outcome).toBe('late')
  })

  test('also for work that begins after others have run out', async () => {
    const { clock, wait } = setUp()
    wait(never, 10)
    await clock.advance(500)
    const later = wait(never, 600)
    await clock.advance(200)
    await nextTurn()
    expect(later.outcome).toBe('late')
  })
})

test('work that fails after its deadline bothers nobody', async () => {
  const { clock, wait } = setUp()
  const work = Promise.withResolvers<never>()
  const seen = wait(work.promise, 10)
  await clock.advance(60)
  await nextTurn()
  work.reject(new Error('much later'))
  await nextTurn()
  expect(seen.outcome).toBe('late')
})

test('one watch looks over all waits, and none sleeps when there is nothing to wait for', async () => {
  const { clock, deadlines } = setUp()
  const sleep = vi.spyOn(clock, 'sleep')
  await Promise.all(Array.from({ length: 100 }, (_, i) => deadlines.within(Promise.resolve(i), 1000, 'load')))
  expect(sleep).toHaveBeenCalledTimes(1)
  await clock.advance(10_000)
  expect(sleep).toHaveBeenCalledTimes(1)
})

test('an answer that came in time is not late because the event loop stood still', async () => {
  const deadlines = new Deadlines(systemClock, errors)
  const start = performance.now()
  // It comes by way of the event loop, as a server's does.
  const work = deadlines.within(promisify(randomBytes)(1), start + 20, 'load')
  while (performance.now() < start + 1000);
  await expect(work).resolves.toBeInstanceOf(Uint8Array)
})

test('a clock that is set back or forward moves no deadline', async () => {
  const day = new ManualClock(0)
  const steady = new ManualClock(0)
  const clock: Clock = {
    now: () => day.now(),
    monotonic: () => steady.now(),
    sleep: (ms, signal) => steady.sleep(ms, signal),
  }
  const deadlines = new Deadlines(clock, errors)
  let outcome: unknown = 'waiting'
  deadlines.within(never, 1000, 'load').catch((error: Error) => (outcome = error.message))
  await day.advance(960_000)
  await steady.advance(950)
  await nextTurn()
  expect(outcome).toBe('waiting')
  await steady.advance(50)
  await nextTurn()
  expect(outcome).toBe('late')
})

test('what has not settled is counted, waited for or not, and since when nothing settles', async () => {
  const { clock, deadlines, wait } = setUp()
  const work = Promise.withResolvers<number>()
  await clock.advance(7)
  wait(work.promise, 100)
  await clock.advance(300)
  wait(never, 400)
  await nextTurn()
  expect(deadlines).toMatchObject({ unsettled: 2, silentSince: 7 })
  work.resolve(1)
  await nextTurn()
  expect(deadlines).toMatchObject({ unsettled: 1, silentSince: 307 })
})

test('who waits is kept in no order, and each leaves by itself', async () => {
  const { clock, wait } = setUp()
  const works = Array.from({ length: 6 }, () => Promise.withResolvers<number>())
  const seen = works.map(({ promise }, i) => wait(promise, 100 + i))
  for (const i of [0, 5, 2]) works[i]!.resolve(i)
  await nextTurn()
  expect(seen.map(({ outcome }) => outcome)).toEqual([0, 'waiting', 2, 'waiting', 'waiting', 5])
  await clock.advance(200)
  await nextTurn()
  expect(seen.map(({ outcome }) => outcome)).toEqual([0, 'late', 2, 'late', 'late', 5])
})
