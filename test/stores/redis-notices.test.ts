import { once } from 'node:events'

import { Redis } from 'ioredis'
import { createClient, createClientPool } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'

import { Context } from '../../src/context.ts'
import type { SessionError } from '../../src/errors.ts'
import type { Sessions } from '../../src/sessions.ts'
import { createSessions } from '../../src/sessions.ts'
import type { RedisClient } from '../../src/stores/redis.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import type { Anything } from '../support/core.ts'
import { arrive, visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'
import { published } from '../support/published.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'

let server: RedisServer
const closing: (() => unknown)[] = []

beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.stop())
beforeEach(() => vi.spyOn(console, 'warn').mockImplementation(() => {}))
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
  await server.tell('ACL SETUSER default allchannels +@all')
  await server.flushAll()
})

/** A process on the one Redis, by a client of this kind. */
async function process(kind: Kind, clock = new ManualClock(Date.now())): Promise<Sessions<Anything>> {
  const store = new RedisSessionStore({ ...(await CLIENTS[kind]()), clock })
  const sessions = createSessions<Anything>({ store, cookie: { name: 'session', secure: false } })
  closing.push(() => sessions.close())
  return sessions
}

type Kind = keyof typeof CLIENTS
const CLIENTS = {
  'a url': async () => ({ url: server.url }),
  'node-redis': async () => ({ client: await nodeRedis() }),
  'node-redis over RESP2': async () => ({ client: await nodeRedis({ RESP: 2 }) }),
  ioredis: async () => ({ client: await ioredis() }),
  'ioredis with a keyPrefix': async () => ({ client: await ioredis({ keyPrefix: 'app:' }) }),
} satisfies Record<string, () => Promise<{ client: RedisClient } | { url: string }>>
const KINDS = Object.keys(CLIENTS) as Kind[]

async function nodeRedis(options: object = {}): Promise<RedisClient> {
  const client = createClient({ url: server.url, ...options })
  client.on('error', () => {})
  await client.connect()
  closing.push(() => client.destroy())
  return client as unknown as RedisClient
}

async function ioredis(options: object = {}): Promise<RedisClient> {
  const client = new Redis(server.port, '127.0.0.1', options)
  client.on('error', () => {})
  await once(client, 'ready')
  closing.push(() => client.disconnect())
  return client
}

/** Something open on the session behind a cookie, which Redis has been asked to tell of. */
async function asked(sessions: Sessions<Anything>, cookie: string): Promise<Context<Anything>> {
  const context = new Context<Anything>({ sessions, session: await sessions.open(cookie) })
  expect(context.signal.aborted).toBe(false)
  return context
}

/** The same, when Redis has confirmed it. */
async function follow(sessions: Sessions<Anything>, cookie: string): Promise<Context<Anything>> {
  const context = await asked(sessions, cookie)
  await eventually(async () => expect(await subscriptions()).toBe(1))
  return context
}

/** How many channels anybody hears. */
async function subscriptions(): Promise<number> {
  const reply = await server.tell('PUBSUB CHANNELS')
  return Number(reply.slice(1))
}

function reasonOf({ signal }: Context<Anything>): string | null {
  return signal.aborted ? (signal.reason as SessionError).reason! : null
}

describe.each(KINDS)('over %s', (kind) => {
  test('what another process ends and changes is told of at once', async () => {
    const [here, there] = [await process(kind), await process(kind)]
    const cookie = await arrive(here)
    const context = await follow(here, cookie)
    const told: unknown[] = []
    context.onChange((keys) => void told.push(keys))
    await visit(there, cookie, ({ data }) => (data.n = 1))
    await eventually(() => expect(told).toEqual([['n']]))
    await visit(there, cookie, (session) => session.destroy())
    await eventually(() => expect(reasonOf(context)).toBe('destroyed'))
    await eventually(async () => expect(await subscriptions()).toBe(0))
  })

  test('what happened while the connection was lost is found when it is back', async () => {
    const [here, there] = [await process(kind), await process(kind)]
    const [first, second] = [await arrive(here), await arrive(here)]
    const context = await follow(here, first)
    await server.tell('CLIENT KILL TYPE pubsub')
    await visit(there, first, (session) => session.destroy())
    await eventually(() => expect(reasonOf(context)).toBe('destroyed'))
    // And it hears as before.
    const later = await follow(here, second)
    await visit(there, second, (session) => session.destroy())
    await eventually(() => expect(reasonOf(later)).toBe('destroyed'))
  })

  test('where no connection for notices is to be had any more, ends are found within 30 s', async () => {
    const clock = new ManualClock(Date.now())
    const [here, there] = [await process(kind, clock), await process(kind, clock)]
    const cookie = await arrive(here)
    const context = await follow(here, cookie)
    await server.tell('ACL SETUSER default resetchannels')
    await server.tell('CLIENT KILL TYPE pubsub')
    await eventually(async () => expect(await subscriptions()).toBe(0))
    await visit(there, cookie, (session) => session.destroy())
    expect(reasonOf(context)).toBe(null)
    await pass(clock, 30_000)
    await eventually(() => expect(reasonOf(context)).toBe('destroyed'))
  })

  test('what Redis would not let it hear any more is heard once it may', async () => {
    const events = published('holdfast:event')
    const [here, there] = [await process(kind), await process(kind)]
    const [first, refused, second] = [await arrive(here), await arrive(here), await arrive(here)]
    const context = await follow(here, first)
    await server.tell('ACL SETUSER default resetchannels')
    await server.tell('CLIENT KILL TYPE pubsub')
    const refusal = {
      operation: 'subscribe',
      error: expect.objectContaining({ message: expect.stringContaining('NOPERM') }),
    }
    await eventually(() => expect(events).toContainEqual(expect.objectContaining(refusal)))
    for (const event of events) expect(event).not.toHaveProperty('error.command')
    const meanwhile = await asked(here, refused)
    await server.tell('ACL SETUSER default allchannels')
    await asked(here, second)
    await eventually(async () => expect(await subscriptions()).toBe(3))
    for (const cookie of [first, refused]) await visit(there, cookie, (session) => session.destroy())
    await eventually(() => expect([context, meanwhile].map(reasonOf)).toEqual(['destroyed', 'destroyed']))
  })
})

/** Lets time pass, slowly enough for Redis to answer what is asked meanwhile: its time is real. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    await clock.advance(250)
    await server.tell('PING')
  }
}

describe('a user of Redis who may not', () => {
  test('publish writes all the same, which is told of once', async () => {
    const events = published('holdfast:event')
    const sessions = await process('node-redis')
    await server.tell('ACL SETUSER default -publish')
    const cookie = await arrive(sessions)
    for (const n of [1, 2]) {
      const { outcome } = await visit(sessions, cookie, ({ data }) => (data.n = n))
      expect(outcome).toBe('saved')
    }
    expect((await visit(sessions, cookie, (session) => session.destroy())).outcome).toBe('destroyed')
    expect(events.filter(({ kind }) => kind === 'no-notices')).toEqual([
      expect.objectContaining({ operation: 'publish' }),
    ])
    expect(console.warn).toHaveBeenCalledOnce()
  })

  test('subscribe is told so once, and finds ends by looking', async () => {
    const events = published('holdfast:event')
    const clock = new ManualClock(Date.now())
    const [here, there] = [await process('ioredis', clock), await process('ioredis')]
    await server.tell('ACL SETUSER default -subscribe')
    const cookies = [await arrive(here), await arrive(here)]
    const contexts = await Promise.all(
      cookies.map(
        async (cookie) => new Context<Anything>({ sessions: here, session: await here.open(cookie) }),
      ),
    )
    for (const { signal } of contexts) expect(signal.aborted).toBe(false)
    await eventually(() => expect(events).toContainEqual(expect.objectContaining({ operation: 'subscribe' })))
    expect(events.filter(({ kind }) => kind === 'no-notices')).toHaveLength(1)
    for (const cookie of cookies) await visit(there, cookie, (session) => session.destroy())
    await pass(clock, 30_000)
    await eventually(() => expect(contexts.map(reasonOf)).toEqual(['destroyed', 'destroyed']))
  })
})

test('a pool, which cannot be duplicated into a subscriber, is told of once', async () => {
  const events = published('holdfast:event')
  const pool = createClientPool({ url: server.url })
  await pool.connect()
  closing.push(() => pool.destroy())
  const store = new RedisSessionStore({ client: pool as unknown as RedisClient })
  const unwatch = await store.watch('a', () => {})
  unwatch()
  expect(events).toContainEqual(expect.objectContaining({ kind: 'no-notices', operation: 'subscribe' }))
  await store.close()
})

test('a thousand sessions are looked at by four commands', async () => {
  const store = new RedisSessionStore({ client: await nodeRedis() })
  await store.peek(['warm up'])
  const before = await commands()
  expect(await store.peek(Array.from({ length: 1000 }, (_, i) => `id-${i}`))).toHaveLength(1000)
  // INFO itself counts.
  expect((await commands()) - before).toBe(4)
  await store.close()
})

/** How many scripts Redis has run by name. */
async function commands(): Promise<number> {
  const client = createClient({ url: server.url })
  await client.connect()
  const stats = await client.info('commandstats')
  client.destroy()
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0)
}

test('a store that is closed while it connects does not wait for a server that is not there', async () => {
  const store = new RedisSessionStore({ url: 'redis://127.0.0.1:1' })
  const watching = store.watch('a', () => {}).catch((error: unknown) => error)
  await store.close()
  await Promise.race([watching, new Promise((resolve) => setImmediate(resolve))])
})
