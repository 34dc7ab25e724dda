import { join } from 'node:path'

import fc from 'fast-check'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { Clock } from '../../src/clock.ts'
import type { SessionsOptions } from '../../src/index.ts'
import { MemorySessionStore } from '../../src/stores/memory.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SqliteSessionStore } from '../../src/stores/sqlite.ts'
import { HintedStore } from '../support/hinted-store.ts'
import { startRedis } from '../support/redis-server.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { isThorough, SEED } from './random.ts'
import type { Deed, IndexedStore } from './users.ts'
import { ACTS, DEVICES, followUsers, OTHER_ACTS } from './users.ts'

/*
 * Ada's sessions, while she signs in, goes on under new ids and out again, and while her sessions are listed and revoked, on several
 * servers at once: in every order that chance comes up with, a process that dies among them.
 */

interface Backend extends AsyncDisposable {
  /** A store with nothing in it, which goes by this clock. */
  open(clock: Clock): IndexedStore
}

const inMemory = (Store: typeof MemorySessionStore) => async (): Promise<Backend> => ({
  open: (clock) => new Store({ clock }),
  [Symbol.asyncDispose]: () => Promise.resolve(),
})

async function onSqlite(): Promise<Backend> {
  const folder = await temporaryFolder()
  let files = 0
  let store: SqliteSessionStore | undefined
  return {
    open(clock) {
      // Orders come one after another: the one before is over. As tables of one file, each would take longer to open than the last.
      void store?.close()
      store = new SqliteSessionStore({ path: join(folder.path, `${files++}.db`), clock })
      return store
    },
    async [Symbol.asyncDispose]() {
      await store?.close()
      folder.remove()
    },
  }
}

async function onRedis(): Promise<Backend> {
  const server = await startRedis()
  const client = await createClient({ url: server.url }).connect()
  let orders = 0
  return {
    open: (clock) => new RedisSessionStore({ client, prefix: `${orders++}:`, clock }),
    async [Symbol.asyncDispose]() {
      await client.close()
      await server.stop()
    },
  }
}

describe.each([
  { name: 'memory', start: inMemory(MemorySessionStore), runs: 150, others: OTHER_ACTS },
  { name: 'memory that knows users by hints', start: inMemory(HintedStore), runs: 300, others: OTHER_ACTS },
  { name: 'SQLite', start: onSqlite, runs: 40, others: OTHER_ACTS },
  // Redis keeps time itself.
  { name: 'Redis', start: onRedis, runs: 60, others: OTHER_ACTS.filter((act) => act !== 'expire') },
])(`On $name (seed ${SEED})`, ({ start, runs, others }) => {
  let backend: Backend
  beforeAll(async () => {
    backend = await start()
  })
  afterAll(() => backend[Symbol.asyncDispose]())

  const device = fc.nat({ max: DEVICES - 1 })
  const deed: fc.Arbitrary<Deed> = fc.oneof(
    fc.record({ act: fc.constantFrom(...ACTS), on: device }),
    fc.record({ act: fc.constantFrom(...others) }),
  )

  async function goAtRandom(
    limit: SessionsOptions['maxSessionsPerUser'],
    deeds: fc.Arbitrary<Deed[]>,
    crashes: boolean,
  ): Promise<void> {
    const crash = crashes
      ? fc.record({ at: fc.integer({ min: 2, max: 40 }), deed: fc.nat({ max: 9 }) })
      : fc.constant(null)
    const choices = fc.array(fc.nat({ max: 9999 }), { minLength: 200, maxLength: 200 })
    const property = fc.asyncProperty(deeds, crash, choices, async (all, dies, by) => {
      const scenario = { deeds: all, crash: dies, limit }
      expect(await followUsers(scenario, by, (clock) => backend.open(clock))).toEqual([])
    })
    await fc.assert(property, { numRuns: isThorough ? 50 * runs : runs, seed: SEED })
  }

  const LONG = isThorough ? 24 * 3_600_000 : 120_000
  const several = fc.array(deed, { minLength: 2, maxLength: 6 })

  test('what is revoked stays so, and what is alive is listed', { timeout: LONG }, () =>
    goAtRandom(undefined, several, false),
  )

  // SECURITY.md, S18a.
  test('revoke all holds among whatever else goes on', { timeout: LONG }, () =>
    goAtRandom(
      undefined,
      several.map((deeds) => [...deeds, { act: 'revoke all' }]),
      false,
    ),
  )

  test('a process that dies leaves nothing unlisted that somebody can use', { timeout: LONG }, () =>
    goAtRandom(undefined, several, true),
  )

  test.each([DEVICES, { max: DEVICES, whenTooMany: 'refuse' }, 1] as const)(
    'there are never more than %o for good',
    { timeout: LONG },
    (limit) => goAtRandom(limit, several, false),
  )
})
