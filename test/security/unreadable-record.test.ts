import { DatabaseSync } from 'node:sqlite'

import { createClient } from 'redis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { SessionStore } from '../../src/index.ts'
import { SessionData } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SqliteSessionStore } from '../../src/stores/sqlite.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'
import { published } from '../support/published.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'

const DEEP = '{"a":'.repeat(20_000) + '1' + '}'.repeat(20_000)
/** S28: what may stand where a session's data should. */
const PAYLOADS: readonly [string, string][] = [
  ['not JSON', 'a session'],
  ['empty', ''],
  ['null', 'null'],
  ['an array', '[]'],
  ['a string', '"a session"'],
  ['a number', '42'],
  ['truncated', '{"n":1,"secret":"s3cr'],
  ['nested 20,000 deep', DEEP],
  ['not UTF-8', '{"n":"\uFFFD"}'],
]

let redis: RedisServer
beforeAll(async () => void (redis = await startRedis()))
afterAll(() => redis.stop())

/** A store, and a way to spoil a record's data in it. */
interface Spoilable {
  store: SessionStore
  spoil(id: string, data: string): unknown
  close(): unknown
}

describe.each<[string, () => Promise<Spoilable>]>([
  ['SQLite', spoilSqlite],
  ['Redis', spoilRedis],
])('a record that cannot be read, in %s', (_name, open) => {
  test.each(PAYLOADS)('is a session not found: %s', async (_what, payload) => {
    const { store, spoil, close } = await open()
    const { sessions } = serve({ store })
    const cookie = await arrive(sessions, { n: 1 }, 'alice')
    const { id } = await sessions.open(cookie)
    await spoil(id, payload)

    const events = published('holdfast:event')
    const seen = await visit(sessions, cookie, (session) => {
      expect([session.get('n'), session.size, session.userId, session.isNew]).toEqual([
        undefined,
        0,
        null,
        true,
      ])
      expect(session.id).not.toBe(id)
    })
    expect(events).toEqual([{ kind: 'rejected', reason: 'unreadable', id }])
    expect([seen.outcome, seen.cookie]).toEqual(['unchanged', cookie])

    const fresh = await visit(sessions, cookie, (session) => session.set('n', 2))
    expect(fresh.outcome).toBe('saved')
    expect(fresh.cookie).not.toBe(cookie)
    expect(await dataBehind(sessions, fresh.cookie)).toEqual({ n: 2 })
    await close()
  })
})

test.each<[string, unknown]>([
  ['of a later format', { ...new SessionData({ id: 'x', version: 'v' }).toJSON(), format: 2 }],
  ['of wrong types', { ...new SessionData({ id: 'x', version: 'v' }).toJSON(), userId: 42 }],
  ['{}', {}],
])('a record %s is a typed error, never half a session', (_what, json) => {
  expect(() => SessionData.fromJSON(json)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_RECORD' }))
})

function spoilSqlite(): Promise<Spoilable> {
  const database = new DatabaseSync(':memory:')
  const store = new SqliteSessionStore({ database })
  const spoil = (id: string, data: string): unknown =>
    database.prepare('UPDATE holdfast_sessions SET data = ? WHERE id = ?').run(data, id)
  return Promise.resolve({ store, spoil, close: () => database.close() })
}

async function spoilRedis(): Promise<Spoilable> {
  const client = await createClient({ url: redis.url }).connect()
  const store = new RedisSessionStore({ client })
  const spoil = async (id: string, data: string): Promise<void> => {
    const key = `holdfast:session:${id}`
    const [head] = (await client.hGet(key, 'd'))!.split('\n')
    await client.hSet(key, 'd', `${head}\n${data}`)
  }
  return { store, spoil, close: () => client.destroy() }
}
