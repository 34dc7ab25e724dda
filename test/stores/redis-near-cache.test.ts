/** RedisSessionStore with `nearCache`, before a real Redis. What it keeps, and when not, is in `src/stores/_redis-near-cache.test.ts`. */
import { setImmediate as nextTurn } from 'node:timers/promises'

import { Redis } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { afterEach, beforeAll, expect, it, onTestFinished, vi } from 'vitest'

import type { Clock } from '../../src/clock.ts'
import { onEvent } from '../../src/events.ts'
import { createSessions } from '../../src/index.ts'
import type { RedisSessionStoreOptions } from '../../src/stores/redis.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import { eventually } from '../support/eventually.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { runContract } from './run-contract.ts'

const id = 'an-id'
const mark: Mark = { kind: 'mark', reason: 'revoked', successor: null, sameUser: false }
const record = (version: string): SessionData => new SessionData({ id, version, createdAt: 1000 })

let server: RedisServer
/** A client of the test's own. */
let raw: ReturnType<typeof createClient>

beforeAll(async () => {
  server = await startRedis()
  raw = createClient({ url: server.url }) as typeof raw
  await raw.connect()
  return async () => {
    raw.destroy()
    await server.stop()
  }
})
afterEach(() => server.flushAll())

function after<T>(thing: T, end: (thing: T) => unknown): T {
  onTestFinished(async () => void (await end(thing)))
  return thing
}

const trackedClient = (port = server.port) =>
  createClient({ url: `redis://127.0.0.1:${port}`, RESP: 3, emitInvalidate: true })

async function connected<C extends ReturnType<typeof trackedClient>>(client: C): Promise<C> {
  client.on('error', () => {})
  await client.connect()
  return after(client, () => client.destroy())
}

/** Waits, before it reads, until every invalidation has come that Redis has sent: what else takes as long as a message does. */
class Patient extends RedisSessionStore {
  override async load(id: string) {
    await this.exists(id)
    return super.load(id)
  }
}

async function patient(clock: Clock = new ManualClock()): Promise<Patient> {
  return new Patient({ client: await connected(trackedClient()), nearCache: true, clock })
}

/** A store that has read `an-id`, and holds it. */
async function holding(options: Partial<RedisSessionStoreOptions> = {}): Promise<RedisSessionStore> {
  const place = options.client === undefined ? { url: server.url, ...options } : options
  const store = new RedisSessionStore({ nearCache: true, ...place } as RedisSessionStoreOptions)
  after(store, (store) => store.close())
  await store.create(id, record('v1'), 60)
  await holds(store)
  return store
}

async function holds(store: RedisSessionStore): Promise<void> {
  await eventually(async () => {
    await store.load(id)
    expect(await commandsOf(() => store.load(id))).not.toContain('HMGET')
  })
}

/** What clients send while an action runs. */
async function commandsOf(action: () => Promise<unknown>): Promise<string[]> {
  const spy = await createClient({ url: server.url }).connect()
  const said: string[] = []
  await spy.monitor((line) => said.push(String(line)))
  await action()
  await raw.echo('end-of-action')
  await eventually(() => expect(said.some((line) => line.includes('end-of-action'))).toBe(true))
  spy.destroy()
  return said.filter((line) => !/ lua\]|"ECHO"/.test(line)).map((line) => /\] "(\w+)"/.exec(line)![1]!)
}

runContract(
  'RedisSessionStore with nearCache',
  () => {
    const clock = new ManualClock()
    return {
      open: () => patient(clock),
      async advance(ms) {
        await clock.advance(ms)
        for (const key of await raw.keys('holdfast:session:*'))
          await raw.pExpire(key, (await raw.pTTL(key)) - ms)
      },
      async plant(id, data) {
        const key = `holdfast:session:${id}`
        const [line] = (await raw.hGet(key, 'd'))!.split('\n', 1)
        await raw.hSet(key, 'd', Buffer.concat([Buffer.from(`${line}\n`), data]))
      },
      close: () => server.flushAll(),
    }
  },
  { atomic: true },
)

it.each<[string, () => Promise<Partial<RedisSessionStoreOptions>>]>([
  ['a url', async () => ({})],
  ['a client', async () => ({ client: await connected(trackedClient()) })],
])('with %s, what was read is read again without a command', async (_name, options) => {
  const store = await holding({ ...(await options()), clock: new ManualClock() } as RedisSessionStoreOptions)
  const found: unknown[] = []
  const commands = await commandsOf(async () => {
    for (let i = 0; i < 10; i++) found.push(await store.load(id))
  })
  expect(commands).toEqual([])
  expect(found).toHaveLength(10)
  expect(found[9]).toMatchObject({ id, version: 'v1' })
})

it.each<[string, (other: RedisSessionStore) => Promise<unknown>, unknown]>([
  ['ended', (other) => other.end(id, mark), mark],
  ['deleted', (other) => other.delete(id), null],
  ['written', (other) => other.replace(id, record('v2'), 'v1', 60), { version: 'v2' }],
  ['set', (other) => other.set(id, record('v2')), { version: 'v2' }],
  ['flushed', () => raw.flushAll(), null],
  ['expired', () => raw.pExpire(`holdfast:session:${id}`, 1), null],
])('what another process has %s is known as soon as the message comes', async (_what, act, expected) => {
  // Its time stands, so that nothing is forgotten for its age.
  const store = await holding({ clock: new ManualClock() })
  const other = after(new RedisSessionStore({ url: server.url }), (other) => other.close())
  await act(other)
  await eventually(async () => {
    const found = await store.load(id)
    if (expected === null) expect(found).toBeNull()
    else expect(found).toMatchObject(expected as object)
  })
})

it('what another process touches is seen to be alive', async () => {
  const store = await holding()
  const other = after(new RedisSessionStore({ url: server.url }), (other) => other.close())
  await other.touch(id, 120)
  await eventually(async () =>
    expect(((await store.load(id)) as SessionData).touchedAt).toBeGreaterThan(1000),
  )
})

it('what this process ends is dead at once, before the command is answered', async () => {
  const store = await holding()
  // Tells the server the script.
  await store.end('another', mark)
  const ending = store.end(id, mark)
  expect(await store.load(id)).toEqual(mark)
  expect(await ending).toBe(true)
})

it('what has run out in Redis is not served, whether or not it has told', async () => {
  const clock = new ManualClock()
  const client = await connected(trackedClient())
  const store = new RedisSessionStore({ client, clock, nearCache: { maxStale: 30 } })
  await store.create(id, record('v1'), 20)
  await holds(store)
  await clock.advance(10_000)
  expect(await commandsOf(() => store.load(id))).not.toContain('HMGET')
  await clock.advance(10_000)
  expect(await commandsOf(() => store.load(id))).toContain('HMGET')
})

it('what has no end in Redis is kept, too', async () => {
  const store = await holding({ clock: new ManualClock() })
  await raw.persist(`holdfast:session:${id}`)
  await holds(store)
})

it('two managers revoke and read one user between them', async () => {
  const clients = [await connected(trackedClient()), await connected(trackedClient())]
  const [here, there] = clients.map((client) =>
    createSessions({ store: new RedisSessionStore({ client, nearCache: true }), storeTimeout: 10 }),
  )
  const session = await here!.open(null)
  session.signIn('ada')
  const { headers } = await here!.commit(session, { status: 200 })
  const cookie = headers.find(([name]) => name === 'Set-Cookie')![1].split(';', 1)[0]!
  for (let i = 0; i < 5; i++) expect((await there!.open(cookie)).userId).toBe('ada')
  await here!.forUser('ada').revokeAll()
  expect((await here!.open(cookie)).userId).toBeNull()
  await eventually(async () => expect((await there!.open(cookie)).userId).toBeNull())
})

it('a stale read loses no write: two processes count, each from what it holds', async () => {
  const managers = await Promise.all(
    [1, 2].map(async () => {
      const client = await connected(trackedClient())
      const store = new RedisSessionStore({ client, nearCache: true })
      return createSessions<{ n?: number }>({ store, storeTimeout: 10 })
    }),
  )
  const first = await managers[0]!.open(null)
  first.set('n', 0)
  const { headers } = await managers[0]!.commit(first, { status: 200 })
  const cookie = headers.find(([name]) => name === 'Set-Cookie')![1].split(';', 1)[0]!
  const count = async (turn: number): Promise<unknown> => {
    const sessions = managers[turn % 2]!
    const session = await sessions.open(cookie)
    session.update('n', (n = 0) => n + 1)
    return (await sessions.commit(session, { status: 200 })).outcome
  }
  for (let round = 0; round < 20; round++) {
    const outcomes = await Promise.all([0, 1, 2, 3].map(count))
    expect(outcomes).toEqual(['saved', 'saved', 'saved', 'saved'])
  }
  const found = await new RedisSessionStore({ client: raw }).load(first.id)
  expect(found).toMatchObject({ data: { n: 80 } })
})

it('reads in flight and writes elsewhere leave nothing stale', async () => {
  const store = await holding()
  const other = new RedisSessionStore({ client: raw })
  for (let round = 1; round <= 200; round++) {
    const reads = Array.from({ length: 1 + (round % 3) }, () => store.load(id))
    if (round % 2 === 0) await nextTurn()
    const write = other.replace(id, record(`v${round + 1}`), `v${round}`, 60)
    reads.push(store.load(id))
    expect(await write).toBe(true)
    reads.push(store.load(id))
    await Promise.all(reads)
    // By the connection that invalidations come by: it is behind them.
    await store.exists(id)
    expect(await store.load(id)).toMatchObject({ version: `v${round + 1}` })
  }
})

it('a notice is not overtaken by what it is about', async () => {
  const proxy = after(await startTcpProxy(server.port), (proxy) => proxy.stop())
  const client = await connected(trackedClient(proxy.port))
  const store = await holding({ client, clock: new ManualClock() } as RedisSessionStoreOptions)
  const notice = new Promise((resolve) => void store.watch(id, resolve))
  await eventually(async () =>
    expect(await raw.pubSubNumSub(`holdfast:session:${id}`)).not.toEqual({ [`holdfast:session:${id}`]: 0 }),
  )
  expect(await store.load(id)).toMatchObject({ version: 'v1' })
  await new RedisSessionStore({ client: raw }).end(id, mark)
  await notice
  expect(await store.load(id)).toEqual(mark)
})

it('a connection that is lost takes with it what it kept', async () => {
  const client = await connected(trackedClient())
  const store = await holding({ client, clock: new ManualClock() } as RedisSessionStoreOptions)
  const lost = new Promise((resolve) => client.once('error', resolve))
  await raw.clientKill({ filter: 'ID', id: await client.clientId() })
  await new RedisSessionStore({ client: raw }).end(id, mark)
  await lost
  expect(await store.load(id)).toEqual(mark)
})

it('a network that has gone silent keeps a dead session for maxStale and no longer', async () => {
  const proxy = after(await startTcpProxy(server.port), (proxy) => proxy.stop())
  const clock = new ManualClock()
  const url = `redis://127.0.0.1:${proxy.port}`
  const store = await holding({ url, clock, nearCache: { maxStale: 2 } } as RedisSessionStoreOptions)
  proxy.swallow()
  await new RedisSessionStore({ client: raw }).end(id, mark)
  await clock.advance(2000)
  expect(await store.load(id)).toMatchObject({ version: 'v1' })
  await clock.advance(1)
  const late = store.load(id)
  expect(await Promise.race([late, nextTurn('nothing')])).toBe('nothing')
  proxy.pass()
  expect(await late).toEqual(mark)
})

it('tells where the application keeps Redis from tracking, and asks Redis then', async () => {
  const client = await connected(trackedClient())
  await client.sendCommand(['CLIENT', 'TRACKING', 'OFF'])
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const events: unknown[] = []
  after(
    onEvent((event) => events.push(event)),
    (stop) => stop(),
  )
  const store = new RedisSessionStore({ client, nearCache: true })
  await store.create(id, record('v1'), 60)
  for (let i = 0; i < 3; i++) expect(await commandsOf(() => store.load(id))).toContain('HMGET')
  expect(warned).toHaveBeenCalledOnce()
  expect(events).toContainEqual(expect.objectContaining({ kind: 'store-failure', operation: 'track' }))
  warned.mockRestore()
})

it('with durability, what is in doubt is not answered from here', async () => {
  const store = await holding({
    durability: { replicas: 1, timeout: 0.01 },
  } as RedisSessionStoreOptions).catch((error: unknown) => error)
  // No replica is there: nothing counts.
  expect(store).toMatchObject({ code: 'ERR_SESSION_NOT_REPLICATED' })
  const reader = after(
    new RedisSessionStore({ url: server.url, nearCache: true, durability: { replicas: 1, timeout: 0.01 } }),
    (store) => store.close(),
  )
  expect(await reader.load(id)).toMatchObject({ version: 'v1' })
  await holds(reader)
  const refused = expect.objectContaining({ code: 'ERR_SESSION_NOT_REPLICATED' })
  await expect(reader.touch(id, 60)).rejects.toEqual(refused)
  for (let i = 0; i < 3; i++) await expect(reader.load(id)).rejects.toEqual(refused)
})

it('nor at the very moment when it has been read, and is not confirmed yet', async () => {
  const client = await connected(trackedClient())
  const store = new RedisSessionStore({ client, nearCache: true, durability: { replicas: 1, timeout: 0.01 } })
  await expect(store.create(id, record('v1'), 60)).rejects.toThrow()
  const { multi } = client
  for (let turns = 0; turns < 12; turns++) {
    // From now on it serves what it has.
    for (let i = 0; i < 2; i++) await store.load('another')
    // Another read comes so many turns of the microtask queue after the first one has its reply.
    let second: Promise<unknown>
    vi.spyOn(client, 'multi').mockImplementationOnce(() => {
      const pipeline = multi.call(client)
      const { execAsPipeline } = pipeline
      pipeline.execAsPipeline = async () => {
        const replies = await execAsPipeline.call(pipeline)
        second = (async () => {
          for (let turn = 0; turn < turns; turn++) await Promise.resolve()
          return store.load(id)
        })()
        return replies as never
      }
      return pipeline
    })
    await expect(store.load(id)).rejects.toThrow()
    await expect(second!).rejects.toThrow()
  }
})

it.each<[string, () => object]>([
  ['of node-redis without invalidations', () => createClient()],
  ['that is a pool', () => createClientPool()],
  ['of ioredis', () => after(new Redis({ lazyConnect: true }), (client) => client.disconnect())],
  ['of a Cluster', () => createCluster({ rootNodes: [{}], defaults: { emitInvalidate: true } })],
  ['of Sentinel', () => createSentinel({ name: 'it', sentinelRootNodes: [{ host: '::1', port: 1 }] })],
])('refuses a client %s', (_name, client) => {
  const options = { client: client(), nearCache: true } as RedisSessionStoreOptions
  expect(() => new RedisSessionStore(options)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule: 'redis-near-cache-client' }) as Error,
  )
})

it.each<[string, unknown, string]>([
  ['no time', { maxStale: 0 }, 'redis-near-cache-max-stale'],
  ['more time than a mark stands', { maxStale: 31 }, 'redis-near-cache-max-stale'],
  ['no session', { maxSessions: 0 }, 'redis-near-cache-max-sessions'],
  ['an option that does not exist', { maxAge: 1 }, 'redis-near-cache-unknown-option'],
  ['a number', 5, 'redis-near-cache-options'],
])('refuses %s', (_name, nearCache, rule) => {
  const options = { url: server.url, nearCache } as RedisSessionStoreOptions
  expect(() => new RedisSessionStore(options)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }) as Error,
  )
})
