import { DatabaseSync } from 'node:sqlite'

import { createClient } from 'redis'
import { describe, expect, test } from 'vitest'

import type { SessionStore } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SqliteSessionStore } from '../../src/stores/sqlite.ts'
import { arrive, serve, visit } from '../support/core.ts'
import { startRedis } from '../support/redis-server.ts'

/** A store, and all that somebody who steals it has in hands. */
interface Stealable {
  store: SessionStore
  dump(): Promise<string>
  close(): Promise<void>
}

/** S2 (CVE-2019-16782): whoever reads the store, a backup of it or its logs, can sign in as nobody. */
describe.each<[string, () => Promise<Stealable>]>([
  ['SQLite', stealSqlite],
  ['Redis', stealRedis],
])('a stolen store: %s', (_name, steal) => {
  test('shows no part of a cookie, and no key in it is one', async () => {
    const { store, dump, close } = await steal()
    const { sessions } = serve({ store, secrets: 'a secret of at least 32 bytes....' })
    const cookies = [await arrive(sessions, { n: 1 }), await arrive(sessions, { n: 2 }, 'alice')]
    cookies.push((await visit(sessions, cookies[0]!, (session) => session.signIn('bob'))).cookie!)
    await visit(sessions, cookies[1]!, (session) => session.destroy())

    const stolen = await dump()
    expect(stolen).toContain('bob')
    for (const cookie of cookies) {
      const value = cookie.slice(cookie.indexOf('=') + 1)
      for (let i = 0; i + 8 <= value.length; i++) expect(stolen).not.toContain(value.slice(i, i + 8))
    }
    for (const key of stolen.match(/[\w-]{43}/g)!)
      for (const value of [key, `${key}.${key.slice(0, 22)}`]) {
        const session = await sessions.open(`__Host-session=${value}`)
        expect([session.isNew, session.size]).toEqual([true, 0])
      }
    await close()
  })
})

test('the ids that a store is asked for are no part of the cookie, and lead to no session', async () => {
  const { sessions, store } = serve()
  const cookie = await arrive(sessions, { n: 1 }, 'alice')
  const ids = new Set(store.calls.map(([, id]) => id!))
  expect(ids.size).toBeGreaterThan(0)
  for (const id of ids) {
    expect(cookie).not.toContain(id.slice(0, 8))
    expect((await sessions.open(`__Host-session=${id}`)).isNew).toBe(true)
  }
})

function stealSqlite(): Promise<Stealable> {
  const database = new DatabaseSync(':memory:')
  const store = new SqliteSessionStore({ database })
  const dump = (): Promise<string> => {
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all() as {
      name: string
    }[]
    return Promise.resolve(
      JSON.stringify(tables.map(({ name }) => database.prepare(`SELECT * FROM "${name}"`).all())),
    )
  }
  const close = async (): Promise<void> => {
    await store.close()
    database.close()
  }
  return Promise.resolve({ store, dump, close })
}

async function stealRedis(): Promise<Stealable> {
  const server = await startRedis()
  const client = await createClient({ url: server.url }).connect()
  const monitor = await createClient({ url: server.url }).connect()
  // What a slow log, a proxy or an administrator would see go by.
  const seen: string[] = []
  await monitor.monitor((line) => void seen.push(String(line)))
  const dump = async (): Promise<string> => {
    const keys = await client.keys('*')
    const held = await Promise.all(
      keys.map(async (key) => [
        key,
        (await client.type(key)) === 'zset'
          ? await client.zRangeWithScores(key, 0, -1)
          : { ...(await client.hGetAll(key)) },
      ]),
    )
    return JSON.stringify(held) + seen.join('\n')
  }
  const close = async (): Promise<void> => {
    monitor.destroy()
    client.destroy()
    await server.stop()
  }
  return { store: new RedisSessionStore({ client }), dump, close }
}
