import { mkdirSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { MemorySessionStore, type SessionStore } from 'holdfast'
import { RedisSessionStore } from 'holdfast/redis'
import { SqliteSessionStore } from 'holdfast/sqlite'

/** A store, and how to call it on a page. */
export interface NamedStore {
  store: SessionStore
  name: string
}

/** Opens the store that the environment asks for: `REDIS_URL`, `SESSION_STORE=memory`, or else an SQLite file. */
export async function openStore(env: NodeJS.ProcessEnv): Promise<NamedStore> {
  if (env['REDIS_URL']) {
    const store = new RedisSessionStore({ url: env['REDIS_URL'] })
    await store.connect()
    return { store, name: 'Redis' }
  }
  if (env['SESSION_STORE'] === 'memory')
    return { store: new MemorySessionStore(), name: 'this process’s memory' }

  // Under a name that .gitignore knows.
  const path = env['SQLITE_PATH'] ?? fileURLToPath(new URL('.data/sessions.sqlite', import.meta.url))
  mkdirSync(dirname(path), { recursive: true })
  return { store: new SqliteSessionStore({ path }), name: `SQLite, in ${shorter(path)}` }
}

function shorter(path: string): string {
  const fromHere = relative(process.cwd(), path)
  return fromHere.startsWith('..') ? path : fromHere
}
