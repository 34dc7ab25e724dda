/** Where sessions are kept, for libraries that bring no store of their own for it: text under a key, by the fewest calls there can be. */
import { DatabaseSync } from 'node:sqlite'

import { Redis } from 'ioredis'
import { createClient } from 'redis'

import { TTL } from './work.ts'

export const STORES = ['memory', 'redis', 'ioredis', 'sqlite', 'cookie'] as const
/** `redis` is a Redis reached by node-redis; `cookie` is no store: the data is in the cookie itself. */
export type StoreName = (typeof STORES)[number]

/** What a set-up is to be built with. */
export interface Place {
  /** `near` is Redis with Holdfast's `nearCache`, which `parts/near.ts` measures. */
  readonly store: StoreName | 'near'
  readonly redisUrl: string
  /** Where an SQLite file may be. */
  readonly folder: string
}

export interface KeyValue {
  get(key: string): Promise<string | null>
  set(key: string, text: string): Promise<unknown>
  delete(key: string): Promise<unknown>
}

/**
 * A client of node-redis without its timer on every command, which would cost each of them 15 µs: fastest for everybody. Holdfast turns
 * it off by itself.
 */
export async function nodeRedis({ redisUrl }: Place) {
  const client = createClient({ url: redisUrl, commandOptions: { timeout: 0 } })
  return client.connect()
}

export function ioredis({ redisUrl }: Place): Redis {
  return new Redis(redisUrl)
}

export async function keyValue(place: Place): Promise<KeyValue> {
  switch (place.store) {
    case 'redis': {
      const client = await nodeRedis(place)
      return {
        get: (key) => client.get(key),
        set: (key, text) => client.set(key, text, { expiration: { type: 'EX', value: TTL } }),
        delete: (key) => client.del(key),
      }
    }
    case 'ioredis': {
      const client = ioredis(place)
      return {
        get: (key) => client.get(key),
        set: (key, text) => client.set(key, text, 'EX', TTL),
        delete: (key) => client.del(key),
      }
    }
    case 'sqlite':
      return sqlite(place)
    default: {
      const texts = new Map<string, string>()
      return {
        get: async (key) => texts.get(key) ?? null,
        set: async (key, text) => texts.set(key, text),
        delete: async (key) => texts.delete(key),
      }
    }
  }
}

/** A file with the settings that Holdfast's store gives its own. */
export function openSqlite({ folder }: Place): DatabaseSync {
  const database = new DatabaseSync(`${folder}/sessions.sqlite`)
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
  return database
}

function sqlite(place: Place): KeyValue {
  const database = openSqlite(place)
  database.exec('CREATE TABLE sessions (id TEXT PRIMARY KEY, data TEXT, ends_at INTEGER)')
  const get = database.prepare('SELECT data FROM sessions WHERE id = ? AND ends_at > ?')
  const set = database.prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)')
  const remove = database.prepare('DELETE FROM sessions WHERE id = ?')
  return {
    get: async (key) => (get.get(key, Date.now())?.['data'] as string | undefined) ?? null,
    set: async (key, text) => set.run(key, text, Date.now() + TTL * 1000),
    delete: async (key) => remove.run(key),
  }
}
