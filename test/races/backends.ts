import { join } from 'node:path'

import { createClient } from 'redis'

import type { Clock } from '../../src/clock.ts'
import { MemorySessionStore } from '../../src/stores/memory.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import type { SessionData } from '../../src/stores/session-data.ts'
import { SqliteSessionStore } from '../../src/stores/sqlite.ts'
import { startRedis } from '../support/redis-server.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import type { Backend } from './scheduler.ts'

/** A backend with something to close. */
export type OpenBackend = Backend & AsyncDisposable

/** One memory store for all orders: to make one costs more than an order takes. */
export function memoryBackend(): Backend {
  const time = new Time()
  const store = new MemorySessionStore({ clock: time })
  let orders = 0
  return {
    start: () => time.next(),
    open(clock) {
      time.of = clock
      if (++orders % 1000 === 0) store.clear()
      return store
    },
    look: (id, ms) => time.ahead(ms, () => store.load(id)),
  }
}

/** A database file. */
export async function sqliteBackend(): Promise<OpenBackend> {
  const time = new Time()
  const folder = await temporaryFolder()
  const store = new SqliteSessionStore({ path: join(folder.path, 'races.db'), clock: time })
  return {
    start: () => time.next(),
    open(clock) {
      time.of = clock
      return store
    },
    look: (id, ms) => time.ahead(ms, () => store.load(id)),
    async [Symbol.asyncDispose]() {
      await store.close()
      folder.remove()
    },
  }
}

/** A real redis-server. It keeps its own time, so what is to expire during an order is made to. */
export async function redisBackend(): Promise<OpenBackend> {
  const server = await startRedis()
  const client = await createClient({ url: server.url }).connect()
  const time = new Time()
  const prefix = 'races:'
  const store = new (class extends RedisSessionStore {
    override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
      return super.create(id, data, ttl < 1 ? 60 : ttl)
    }
  })({ client, prefix, clock: time })
  return {
    start: () => time.next(),
    async open(clock) {
      time.of = clock
      await client.flushAll()
      return store
    },
    async look(id, ms) {
      const left = await client.pTTL(prefix + id)
      return left >= 0 && left <= ms ? null : store.load(id)
    },
    async expire(id) {
      await store.delete(id)
    },
    async [Symbol.asyncDispose]() {
      await client.close()
      await server.stop()
    },
  }
}

/** The clock of a store that serves one order after the other, each so late that all of the one before has expired. */
class Time implements Clock {
  of: Clock | null = null
  #ahead = 0
  #start = Date.UTC(2026, 0, 1)

  next(): number {
    return (this.#start += 2 * 86_400_000)
  }

  now(): number {
    return (this.of?.now() ?? this.#start) + this.#ahead
  }

  /** Only cleanup sleeps, and there is none here. */
  sleep(): Promise<void> {
    return new Promise(() => {})
  }

  async ahead<R>(ms: number, look: () => Promise<R>): Promise<R> {
    this.#ahead = ms
    try {
      return await look()
    } finally {
      this.#ahead = 0
    }
  }
}
