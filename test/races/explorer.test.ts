import { describe, expect, test } from 'vitest'

import { memoryBackend } from './backends.ts'
import type { Exploration } from './explore.ts'
import { emptyExploration, explain, explore } from './explore.ts'
import { goAtRandom, isThorough, SEED } from './random.ts'
import type { Faults, Initial, Kind, Mode } from './scenario.ts'
import { INITIALS, isEvent, KINDS, MODES, multisets } from './scenario.ts'

/*
 * What the core promises about concurrency, checked in every order that the store's steps, the requests and their answers can come in.
 * HOLDFAST_RACES=all does it for all triples, and for all pairs under every fault; that takes hours.
 */

const backend = memoryBackend()
const LONG = isThorough ? 24 * 3_600_000 : 300_000
const HELD: readonly Initial[] = ['anonymous', 'user']
const SEVERAL: readonly Mode[] = ['several processes']

interface Extent {
  readonly sets: readonly (readonly Kind[])[]
  readonly initials: readonly Initial[]
  readonly modes: readonly Mode[]
}

/** Goes through every order of these, expects nothing to be wrong, and prints how many there were. */
async function exhaust(what: string, extents: readonly Extent[], faults: Faults = {}): Promise<void> {
  const total = emptyExploration()
  const began = performance.now()
  let scenarios = 0
  for (const { sets, initials, modes } of extents)
    for (const mode of modes)
      for (const kinds of sets)
        for (const initial of initials) {
          scenarios++
          await explore({ kinds, initial, mode, faults }, { backend }, total)
        }
  report(`${what}: ${scenarios} scenarios, `, total, began)
  expect([...total.findings.values()].map(explain)).toEqual([])
}

function report(what: string, { orders, states, steps, excuses }: Exploration, began: number): void {
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  const through =
    states > 0 ? ` through ${states.toLocaleString('en')} states, ${steps.toLocaleString('en')} steps` : ''
  const excused =
    excuses.size > 0 ? `; late answers that no server could help: ${[...excuses.keys()].join(', ')}` : ''
  console.log(`${what}${orders.toLocaleString('en')} distinct orders${through}, ${seconds} s${excused}`)
}

describe('No acknowledged write is lost and nothing rises again, in any order', () => {
  test('of two requests of any kinds', { timeout: LONG }, async () => {
    await exhaust('two requests', [{ sets: multisets(KINDS, 2), initials: INITIALS, modes: MODES }])
  })

  test('of three requests that are dangerous together', { timeout: LONG }, async () => {
    await exhaust('three requests', isThorough ? allOf(3) : withLess(DANGEROUS, DANGEROUS.slice(3)))
  })

  test('of two requests, a process of which dies at any step', { timeout: LONG }, async () => {
    const extent = { sets: multisets(REQUESTS, 2), initials: INITIALS, modes: SEVERAL }
    await exhaust('a crash', isThorough ? allOf(2) : [extent], { crash: 1 })
  })

  test(
    'of two requests, a reply to which is lost, late, or past the deadline',
    { timeout: LONG },
    async () => {
      await exhaust(
        'a lost reply',
        isThorough ? allOf(2) : withLess(multisets(SETTLING, 2), multisets(SETTLING.slice(2), 2)),
        { lost: 1 },
      )
    },
  )

  test('of two requests, an answer to which never arrives', { timeout: LONG }, async () => {
    await exhaust(
      'a lost answer',
      isThorough ? allOf(2) : withLess(multisets(REQUESTS, 2), multisets(SETTLING, 2)),
      { drop: 1 },
    )
  })

  test('of two requests, one of which takes longer than a mark stands', { timeout: LONG }, async () => {
    await exhaust(
      '30 s pass',
      isThorough ? allOf(2) : withLess(multisets(REQUESTS, 2), multisets(SETTLING, 2)),
      { marks: 1 },
    )
  })
})

describe(`At random (seed ${SEED})`, () => {
  // SECURITY.md, S23.
  describe.each(['read', 'set', 'touch'] as const)(
    'a slow %s among other requests brings nothing back',
    (slow) => {
      test.each(['destroy', 'rotate', 'expire', 'sign in'] as const)(
        'after %s',
        { timeout: LONG },
        async (ender) => {
          const began = performance.now()
          const total = await goAtRandom(backend, { runs: 150, with: [slow, ender], initials: HELD })
          report(`slow ${slow} and ${ender}: `, total, began)
        },
      )
    },
  )

  test('three to six requests of any kinds keep every promise', { timeout: LONG }, async () => {
    const began = performance.now()
    report('any three to six: ', await goAtRandom(backend, { runs: 3000, size: [3, 6] }), began)
  })

  test('so they do when replies and answers are lost and processes die', { timeout: LONG }, async () => {
    const began = performance.now()
    // A server past its deadline is a second ahead: what is about to expire is over for it, and for others not.
    const options = { among: REQUESTS, size: [3, 5], faults: { crash: 1, lost: 2, drop: 1 } } as const
    report('any three to five, with faults: ', await goAtRandom(backend, { runs: 2000, ...options }), began)
  })
})

function allOf(size: number): readonly Extent[] {
  return [{ sets: multisets(KINDS, size), initials: INITIALS, modes: MODES }]
}

/** What fits into every test run: one server, with its queues, has many times the orders of several. */
function withLess(sets: Extent['sets'], inOneProcess = sets): readonly Extent[] {
  return [
    { sets, initials: HELD, modes: SEVERAL },
    { sets: inOneProcess, initials: ['user'], modes: ['one process'] },
  ]
}

const REQUESTS = KINDS.filter((kind) => !isEvent(kind))

/** One of each way to settle a lost reply. */
const SETTLING: readonly Kind[] = ['set', 'sign in', 'update twice tried', 'set and rotate', 'destroy']

/** Each of these, or one much like it, broke a rule of an earlier protocol in `../shared/protocol-model`, or drives the queue hard. */
const DANGEROUS: readonly (readonly Kind[])[] = [
  // In one server these have a hundred thousand states, and no queue helps or hinders them.
  ['sign in', 'sign in', 'destroy'],
  ['rotate', 'rotate', 'destroy'],
  ['set', 'sign in', 'sign in again'],
  ['set and rotate', 'sign in', 'destroy'],
  ['set', 'set', 'rotate'],
  ['set', 'rotate', 'rotate'],
  ['set', 'rotate', 'destroy'],
  ['read', 'rotate', 'sign in'],
  ['touch', 'rotate', 'destroy'],
  ['set expiry', 'touch', 'rotate'],
  ['set', 'update', 'expire'],
  ['update', 'update', 'rotate'],
  ['update', 'update', 'update'],
  ['update', 'update', 'clear'],
]
