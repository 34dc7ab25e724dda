/** RedisSessionStore with `durability`, before a real master and its replica. The failover itself is in `test/faults/failover.test.ts`. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

import { Cluster, Redis } from 'ioredis'
import { createClient, createClientPool, createCluster } from 'redis'
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { createSessions } from '../../src/index.ts'
import type { RedisClient, RedisSessionStoreOptions } from '../../src/stores/redis.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { eventually } from '../support/eventually.ts'
import type { RedisCluster } from '../support/redis-cluster.ts'
import { startRedisCluster } from '../support/redis-cluster.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

/** For what replicas do confirm, in seconds. */
const PATIENCE = 15

const id = 'an-id'
const mark: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }
const record = (version: string): SessionData => new SessionData({ id, version, userId: 'ada' })
const NOT_REPLICATED = expect.objectContaining({ code: 'ERR_SESSION_NOT_REPLICATED', status: 503 })

let master: RedisServer
/** The master's way to its replica: to be cut off. */
let way: TcpProxy

beforeAll(async () => {
  master = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] })
  way = await startTcpProxy(master.port)
  const replica = await startRedis({ args: ['--replicaof', `127.0.0.1 ${way.port}`] })
  await eventually(async () => expect(await master.tell('WAIT 1 1000')).toBe(':1'))
  return async () => {
    await replica.stop()
    await way.stop()
    await master.stop()
  }
})
afterEach(async () => {
  way.pass()
  await master.flushAll()
})

function after<T>(thing: T, end: (thing: T) => unknown): T {
  onTestFinished(async () => void (await end(thing)))
  return thing
}

async function connected<
  C extends { connect(): Promise<unknown>; destroy(): unknown; on(event: 'error', l: () => void): unknown },
>(client: C): Promise<C> {
  client.on('error', () => {})
  after(client, () => client.destroy())
  await client.connect()
  return client
}

const nodeRedis = (port = master.port) => connected(createClient({ url: `redis://127.0.0.1:${port}` }))

function ioredis(port = master.port): Redis {
  const client = after(new Redis(port, '127.0.0.1'), (client) => client.disconnect())
  client.on('error', () => {})
  return client
}

const CLIENTS: readonly [string, (port?: number) => Promise<RedisClient> | RedisClient][] = [
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
]

/** What clients send while an action runs, with the address they send it from. */
async function linesOf(action: () => Promise<unknown>): Promise<{ from: string; name: string }[]> {
  const socket = connect(master.port, '127.0.0.1')
  const lines = createInterface({ input: socket })
  const said: { from: string; name: string }[] = []
  const ended = once(lines, 'end-of-action')
  lines.on('line', (line) => {
    const [, from, name] = /\[0 (\S+)\] "(\w+)"/.exec(line) ?? []
    if (line.includes('end-of-action')) lines.emit('end-of-action')
    else if (from !== undefined && from !== 'lua') said.push({ from, name: name! })
  })
  socket.write('MONITOR\r\n')
  await once(lines, 'line')
  await action()
  await master.tell('ECHO end-of-action')
  await ended
  socket.destroy()
  return said
}

describe.each(CLIENTS)('over %s', (_name, open) => {
  let client: RedisClient
  let store: RedisSessionStore
  /** Another server, which does not wait for long. */
  let hasty: RedisSessionStore
  beforeEach(async () => {
    client = await open()
    store = new RedisSessionStore({ client, durability: { replicas: 1, timeout: PATIENCE } })
    hasty = new RedisSessionStore({ client: await open(), durability: { replicas: 1, timeout: 0.5 } })
  })

  it.each<[string, (store: RedisSessionStore) => Promise<unknown>]>([
    ['create', (store) => store.create('new', record('v1'), 60)],
    ['replace', (store) => store.replace(id, record('v2'), 'v1', 60)],
    ['end', (store) => store.end(id, mark)],
    ['touch', (store) => store.touch(id, 60)],
  ])('%s is followed by WAIT, at once and on the same connection', async (_what, write) => {
    await store.create(id, record('v1'), 60)
    await write(store) // tells the server the script
    await master.flushAll()
    await store.create(id, record('v1'), 60)
    const lines = await linesOf(() =>
      Promise.all([write(store), store.load('somebody'), store.exists('else')]),
    )
    const wait = lines.findIndex(({ name }) => name === 'WAIT')
    expect(lines.map(({ name }) => name).sort()).toEqual(['EVALSHA', 'HEXISTS', 'HMGET', 'WAIT'])
    expect(lines[wait - 1]).toEqual({ name: 'EVALSHA', from: lines[wait]!.from })
  })

  it('a read waits for nobody', async () => {
    await store.create(id, record('v1'), 60)
    expect((await linesOf(() => store.load(id))).map(({ name }) => name)).toEqual(['HMGET'])
  })

  it('a write that too few replicas have is not acknowledged, nor by reading it again', async () => {
    await store.create(id, record('v1'), 60)
    way.swallow()
    await expect(hasty.create('new', record('v1'), 60)).rejects.toEqual(NOT_REPLICATED)
    await expect(hasty.load('new')).rejects.toEqual(NOT_REPLICATED)
    await expect(hasty.replace(id, record('v2'), 'v1', 60)).rejects.toEqual(NOT_REPLICATED)
    await expect(hasty.load(id)).rejects.toEqual(NOT_REPLICATED)
    way.pass()
    await eventually(async () => expect(await hasty.load(id)).toMatchObject({ version: 'v2' }))
    expect((await linesOf(() => hasty.load(id))).map(({ name }) => name)).toEqual(['HMGET'])
  })

  it('a mark that too few replicas have is told to nobody, on whatever server they ask', async () => {
    await store.create(id, record('v1'), 60)
    way.swallow()
    const other = new RedisSessionStore({ client, durability: { replicas: 1, timeout: 0.5 } })
    await expect(hasty.end(id, mark)).rejects.toEqual(NOT_REPLICATED)
    await expect(other.load(id)).rejects.toEqual(NOT_REPLICATED)
    way.pass()
    await eventually(async () => expect(await other.load(id)).toEqual(mark))
  })

  it('what is made counts as made where the user may not publish it', async () => {
    const warn = after(vi.spyOn(console, 'warn').mockReturnValue(), (warn) => warn.mockRestore())
    await store.create(id, record('v1'), 60)
    after(null, () => master.tell('ACL SETUSER default +publish'))
    await master.tell('ACL SETUSER default -publish')
    expect(await store.replace(id, record('v2'), 'v1', 60)).toBe(true)
    expect(await store.end(id, mark)).toBe(true)
    expect(await store.load(id)).toEqual(mark)
    expect(warn).toHaveBeenCalledOnce()
  })

  it('a write whose reply is cut off is confirmed when it is read again', async () => {
    const proxy = after(await startTcpProxy(master.port), (proxy) => proxy.stop())
    const far = new RedisSessionStore({
      client: await open(proxy.port),
      durability: { replicas: 1, timeout: PATIENCE },
    })
    await far.create(id, record('v1'), 60)
    const cut = proxy.cut()
    // ioredis sends it again; then it is refused.
    expect(await far.replace(id, record('v2'), 'v1', 60).catch(() => false)).toBe(false)
    await cut
    await eventually(() => far.exists(id))
    const lines = await linesOf(async () => expect(await far.load(id)).toMatchObject({ version: 'v2' }))
    expect(lines.map(({ name }) => name).filter((name) => name !== 'EVAL')).toEqual([
      'HMGET',
      'EVALSHA',
      'WAIT',
    ])
  })
})

it('a refused sign-out leaves the cookie, and is refused again until replicas have it', async () => {
  const client = await nodeRedis()
  const sessions = createSessions({
    store: new RedisSessionStore({ client, durability: { replicas: 1, timeout: 1 } }),
    storeTimeout: 5,
  })
  const session = await sessions.open(null)
  session.signIn('ada')
  const { headers } = await sessions.commit(session, { status: 200 })
  const cookie = headers.find(([name]) => name === 'Set-Cookie')![1].split(';', 1)[0]!
  way.swallow()
  const leaving = await sessions.open(cookie)
  await expect(leaving.destroy()).rejects.toEqual(NOT_REPLICATED)
  expect((await sessions.commit(leaving, { status: 503 })).headers.map(([name]) => name)).not.toContain(
    'Set-Cookie',
  )
  await expect(sessions.open(cookie)).rejects.toEqual(NOT_REPLICATED)
  way.pass()
  const again = await eventually(() => sessions.open(cookie))
  await again.destroy()
  expect(await sessions.commit(again, { status: 200 })).toMatchObject({ outcome: 'destroyed' })
})

describe('reads do not stand behind a WAIT', () => {
  it.each<[string, () => Promise<RedisSessionStoreOptions>]>([
    ['with a url', async () => ({ url: master.url, durability: { replicas: 1, timeout: PATIENCE } })],
    [
      'with a second client',
      async () => ({
        client: ioredis(),
        durability: { replicas: 1, timeout: PATIENCE, client: await nodeRedis() },
      }),
    ],
  ])('%s', async (_name, options) => {
    const store = after(new RedisSessionStore(await options()), (store) => store.close())
    await store.create(id, record('v0'), 60)
    await store.replace(id, record('v1'), 'v0', 60) // tells the server the script
    way.swallow()
    const write = store.replace(id, record('v2'), 'v1', 60)
    expect(await store.exists(id)).toBe(true)
    // Had the read stood behind it, the write would have been refused by now.
    way.pass()
    expect(await write).toBe(true)
  })
})

describe('over other kinds of client', () => {
  /** Two masters; only the first has a replica. */
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: 2, replicas: [0] })
    return () => cluster.stop()
  })
  const urls = (): string[] => cluster.masters.map(({ url }) => url)

  it('a pool of node-redis', async () => {
    const client = await connected(createClientPool({ url: master.url }))
    const store = new RedisSessionStore({ client, durability: { replicas: 1, timeout: PATIENCE } })
    const ids = Array.from({ length: 20 }, (_, n) => `id${n}`)
    expect(await Promise.all(ids.map((id) => store.create(id, record('v1'), 60)))).not.toContain(false)
  })

  it.each<[string, () => Promise<RedisClient> | RedisClient]>([
    ['node-redis', () => connected(createCluster({ rootNodes: urls().map((url) => ({ url })) }))],
    ['ioredis', () => after(new Cluster(urls()), (client) => client.disconnect())],
  ])('of a Cluster by %s, WAIT goes where the write went', async (name, open) => {
    const client = await open()
    const within = (timeout: number): RedisSessionStore =>
      new RedisSessionStore({ client, durability: { replicas: 1, timeout } })
    // By CRC16: the first key is the first master's, the second the other's.
    expect(await within(PATIENCE).create(`{b}${name}`, record('v1'), 60)).toBe(true)
    await expect(within(0.5).create(`{a}${name}`, record('v1'), 60)).rejects.toEqual(NOT_REPLICATED)
  })
})

it.each<[string, unknown, string]>([
  ['no number', {}, 'redis-durability-replicas'],
  ['no replica', { replicas: 0 }, 'redis-durability-replicas'],
  ['no time', { replicas: 1, timeout: 0 }, 'redis-durability-timeout'],
  ['an option that does not exist', { replicas: 1, fsync: true }, 'redis-durability-unknown-option'],
  ['a client of something else', { replicas: 1, client: {} }, 'redis-client'],
  ['true', true, 'redis-durability-options'],
])('refuses %s', (_name, durability, rule) => {
  const make = (): unknown =>
    new RedisSessionStore({ url: master.url, durability } as RedisSessionStoreOptions)
  expect(make).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }) as Error)
})
