import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { OpenBackend } from './backends.ts'
import { redisBackend, sqliteBackend } from './backends.ts'
import { BREAKAGES } from './broken.ts'
import { goAtRandom, isThorough, SEED } from './random.ts'
import type { Kind } from './scenario.ts'
import { KINDS } from './scenario.ts'

/*
 * The same orders on the stores that processes share: what each does in one step must be what the memory store does in one.
 * The memory store itself goes through all orders in explorer.test.ts.
 */

const LONG = isThorough ? 24 * 3_600_000 : 300_000

describe.each([
  { name: 'SQLite', open: sqliteBackend },
  { name: 'Redis', open: redisBackend },
])(`On $name (seed ${SEED})`, ({ name, open }) => {
  let backend: OpenBackend
  beforeAll(async () => {
    backend = await open()
  })
  afterAll(() => backend[Symbol.asyncDispose]())

  // SECURITY.md, S23.
  describe.each(['read', 'set', 'touch'] as const)(
    'a slow %s among other requests brings nothing back',
    (slow) => {
      test.each(['destroy', 'rotate', 'expire', 'sign in'] as const)(
        'after %s',
        { timeout: LONG },
        async (ender) => {
          await goAtRandom(backend, {
            runs: 90,
            with: [slow, ender],
            among: KINDS_HERE,
            initials: ['anonymous', 'user'],
          })
        },
      )
    },
  )

  test('and a replace that creates is found out', { timeout: LONG }, async () => {
    const { variant } = BREAKAGES.find(({ name }) => name.startsWith('replace creates'))!
    await expect(goAtRandom(backend, { runs: 250, among: ['set', 'destroy'], variant })).rejects.toThrow()
  })

  test('three to five requests of any kinds keep every promise', { timeout: LONG }, async () => {
    const { orders, steps } = await goAtRandom(backend, { runs: 250, size: [3, 5], among: KINDS_HERE })
    console.log(`${name}: ${orders} orders at random, ${steps} steps, beside 12 x 90 of slow requests`)
  })
})

/** Redis keeps time itself, and only the first session is made to expire: not one that goes on under its deadline. */
const KINDS_HERE: readonly Kind[] = KINDS.filter((kind) => kind !== 'expire at deadline')
