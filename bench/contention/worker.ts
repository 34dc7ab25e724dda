/** One process of writers, who all update the same key of the same session, each again and again. It is sent one {@link Order}, and then told to begin. */
import { once } from 'node:events'

import { createSessions, SessionError } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SqliteSessionStore } from '../../src/stores/sqlite.ts'
import type { SessionStore } from '../../src/stores/store.ts'

/** What a process is told. */
export interface Order {
  /** Where the store is: a URL of Redis, or the path of a SQLite file. */
  readonly place: string
  /** The visitor's Cookie header. */
  readonly cookie: string
  readonly writers: number
  /** Milliseconds to go on for. */
  readonly time: number
}

/** What came of it. */
export interface Report {
  /** Milliseconds from the end of each handler to its acknowledgement. */
  readonly latencies: readonly number[]
  /** Updates that were not acknowledged, by the error's code. */
  readonly errors: Readonly<Record<string, number>>
  /** Round trips to the store, those by which requests open their session not counted. */
  readonly roundTrips: number
}

/** The store at a place. */
export function openStore(place: string): SessionStore {
  return place.startsWith('redis:')
    ? new RedisSessionStore({ url: place })
    : new SqliteSessionStore({ path: place })
}

async function carryOut({ place, cookie, writers, time }: Order): Promise<Report> {
  const store = openStore(place)
  const sessions = createSessions<{ count?: number }>({ store })
  const latencies: number[] = []
  const errors: Record<string, number> = {}
  let roundTrips = 0
  for (const operation of ['load', 'replace'] as const) {
    const call = store[operation].bind(store) as (...args: unknown[]) => Promise<never>
    store[operation] = (...args: unknown[]) => {
      roundTrips++
      return call(...args)
    }
  }
  // Connected, and warm.
  for (let n = 0; n < 100; n++) await sessions.open(cookie).catch(() => {})
  process.send!('ready')
  await once(process, 'message')
  roundTrips = 0
  const end = performance.now() + time
  const write = async (): Promise<void> => {
    while (performance.now() < end) {
      try {
        const session = await sessions.open(cookie)
        roundTrips--
        const from = performance.now()
        session.update('count', (count = 0) => count + 1)
        await sessions.commit(session, { status: 200 })
        latencies.push(performance.now() - from)
      } catch (error) {
        if (!(error instanceof SessionError)) throw error
        errors[error.code] = (errors[error.code] ?? 0) + 1
      }
    }
  }
  await Promise.all(Array.from({ length: writers }, write))
  await sessions.close()
  return { latencies, errors, roundTrips }
}

process.once('message', (order: Order) => void carryOut(order).then((report) => process.send!(report)))
process.once('disconnect', () => process.exit())
