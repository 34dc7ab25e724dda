import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

import type { RedisClientType } from 'redis'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { systemClock } from '../../../src/clock.ts'
import { createTokenSource } from '../../../src/cookie/token.ts'
import { createSessions } from '../../../src/index.ts'
import { RedisSessionStore } from '../../../src/stores/redis.ts'
import { SessionData } from '../../../src/stores/session-data.ts'
import { SqliteSessionStore } from '../../../src/stores/sqlite.ts'
import type { SessionStore } from '../../../src/stores/store.ts'
import type { RedisServer } from '../../support/redis-server.ts'
import { startRedis } from '../../support/redis-server.ts'
import { temporaryFolder } from '../../support/temporary-folder.ts'
import { bury, isPending, stateOf, survivors } from './aftermath.ts'
import type { MutantName, Operation, OperationName, Task } from './operations.ts'
import { MUTANTS, OPERATIONS, PENDING, STORE_TIMEOUT } from './operations.ts'

/** What a fresh process found after a crash at one crossing. */
interface Aftermath {
  readonly crossing: string
  readonly state: string
  readonly troubles: readonly string[]
}

const rows: string[] = []
const folder = await temporaryFolder()
const mint = createTokenSource()
let tasks = 0

for (const name of ['sqlite', 'redis'] as const)
  describe(`killed at every store step, on ${name}`, () => {
    let server: RedisServer | null = null
    let redis: RedisClientType | null = null
    beforeAll(async () => {
      if (name === 'sqlite') return
      server = await startRedis()
      redis = createClient({ url: server.url }) as RedisClientType
      await redis.connect()
    })
    afterAll(async () => {
      redis?.destroy()
      await server?.stop()
    })

    for (const operation of Object.keys(OPERATIONS) as OperationName[])
      test(`${operation} leaves ${OPERATIONS[operation].states.join(', then ')}`, async () => {
        const aftermaths = await killEverywhere(operation)
        expect(aftermaths.flatMap(({ troubles }) => troubles)).toEqual([])
        expect(statesOf(aftermaths)).toEqual(OPERATIONS[operation].states)
        rows.push(
          `| ${operation} | ${name} | ${aftermaths.length - 1} | ${statesOf(aftermaths).join(' → ')} |`,
        )
      })

    for (const [mutant, operation] of Object.entries(MUTANTS) as [MutantName, OperationName][])
      test(`where ${mutant}, that is seen`, async () => {
        const aftermaths = await killEverywhere(operation, mutant)
        expect(statesOf(aftermaths).find((state) => state === 'nothing' || state === 'both')).toBeDefined()
      })

    /** Does an operation once for each of its crossings, and once to the end. */
    async function killEverywhere(
      operation: OperationName,
      mutant: MutantName | null = null,
    ): Promise<Aftermath[]> {
      const whole = await kill({ ...newTask(operation, mutant), dieAt: null })
      const deaths = whole.crossings.map((_, dieAt) => () => kill({ ...newTask(operation, mutant), dieAt }))
      const dead = await inParallel(deaths)
      // Each point was reached, and no other way than in the whole.
      for (const [dieAt, { crossings }] of dead.entries())
        expect(crossings).toEqual(whole.crossings.slice(0, dieAt + 1))
      return [...dead, whole]
    }

    function newTask(operation: OperationName, mutant: MutantName | null): Omit<Task, 'dieAt'> {
      const number = tasks++
      const where = server?.url ?? join(folder.path, `${number}.sqlite`)
      return { store: name, where, prefix: `task-${number}:`, cookie: '', operation, mutant }
    }

    function open(task: Task, offset = 0): SessionStore {
      const clock = { ...systemClock, now: () => Date.now() + offset }
      return redis === null
        ? new SqliteSessionStore({ path: task.where, clock })
        : new RedisSessionStore({ client: redis, prefix: task.prefix, clock })
    }

    async function kill(unborn: Task): Promise<Aftermath & { crossings: string[] }> {
      const { start, age = 0, staysInReach }: Operation = OPERATIONS[unborn.operation]
      const { id, token } = mint()
      const task = { ...unborn, cookie: `__Host-session=${token}` }
      const before = open(task)
      if (start !== null) await before.create(id, recordOf(id, start, Date.now() - age), 3600)
      await before.close()

      const crossings = await runVictim(task)
      if (redis !== null) await bury(task, redis)
      const store = open(task)
      const left = await survivors(task, store, redis)
      const state = stateOf(left, id)
      const troubles: string[] = []
      const crossing = crossings[task.dieAt ?? -1] ?? 'the end'
      const trouble = (what: string): void => void troubles.push(`${task.operation}, ${crossing}: ${what}`)

      // The next request of the same browser, in a fresh process, goes on or begins anew; and its sign-out reaches all there is.
      const sessions = createSessions({ store, storeTimeout: STORE_TIMEOUT })
      const next = await sessions.open(task.cookie)
      const goesOn = start !== null && state.startsWith('old')
      if (goesOn !== next.has('cart'))
        trouble(`the old cookie leads to ${JSON.stringify(Object.fromEntries(next))}`)
      await next.destroy()
      const after = await survivors(task, store, redis)
      if (goesOn || staysInReach) {
        if (after.some((survivor) => !isPending(survivor))) trouble('a sign-out does not reach it')
        if (!goesOn && state.startsWith('pending') && after.length > 0)
          trouble('a sign-out does not reach what is pending')
      }
      await store.close()

      // What nobody has a cookie for soon goes by itself. Redis, whose clock no test can move, has said when.
      if (redis === null) {
        const later = open(task, (PENDING + 1) * 1000)
        for (const survivor of after)
          if (isPending(survivor) && (await later.exists(survivor.record.id))) trouble('an orphan stays')
        await later.close()
      }
      return { crossing, crossings, state, troubles }
    }
  })

afterAll(() => {
  folder.remove()
  console.log(
    [
      'Processes killed',
      '| operation | store | crossings | what a fresh process finds |',
      '| --- | --- | --: | --- |',
      ...rows,
    ].join('\n'),
  )
})

/** @returns the crossings that the victim came to */
async function runVictim(task: Task): Promise<string[]> {
  const victim = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      fileURLToPath(new URL('./victim.ts', import.meta.url)),
      JSON.stringify(task),
    ],
    // Hundreds of them start: what they compile is kept for the next.
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(folder.path, 'compiled') },
    },
  )
  const ended = once(victim, 'close')
  const said = await text(victim.stdout)
  const [code, signal] = (await ended) as [number | null, string | null]
  expect(task.dieAt === null ? code : signal).toBe(task.dieAt === null ? 0 : 'SIGKILL')
  return said.split('\n').slice(0, -1)
}

function recordOf(id: string, user: 'vera' | 'nobody', time: number): SessionData {
  const userId = user === 'nobody' ? null : user
  return new SessionData({ id, userId, version: 'first', createdAt: time, data: { cart: 1 } })
}

/** The states, in the order of the crossings, each once. */
function statesOf(aftermaths: readonly Aftermath[]): string[] {
  return aftermaths.map(({ state }) => state).filter((state, i, all) => state !== all[i - 1])
}

/** Runs steps, a few at a time. */
async function inParallel<R>(steps: readonly (() => Promise<R>)[]): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    for (let i = next++; i < steps.length; i = next++) results[i] = await steps[i]!()
  }
  await Promise.all(Array.from({ length: WORKERS }, worker))
  return results
}

const WORKERS = 4
