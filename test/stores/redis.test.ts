import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { cp, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify, inspect } from 'node:util'

import { Cluster, Redis } from 'ioredis'
import { RESP_TYPES, createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'

import { systemClock } from '../../src/clock.ts'
import type { Session } from '../../src/index.ts'
import { createSessions } from '../../src/index.ts'
import { ServerClock } from '../../src/stores/_server-clock.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import type { RedisClient, RedisSessionStoreOptions } from '../../src/stores/redis.ts'
import { SessionData } from '../../src/stores/session-data.ts'
import type { SessionDataInit } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import { visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import type { ClusterNode, RedisCluster } from '../support/redis-cluster.ts'
import { errorsOf, startRedisCluster } from '../support/redis-cluster.ts'
import { startSentinel } from '../support/redis-sentinel.ts'
import { startRedis } from '../support/redis-server.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { runContract } from './run-contract.ts'

const id = 'an-id'
const key = `holdfast:session:${id}`
const secret = 'a-secret-that-nobody-may-see'
const mark: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }

const record = (version: string, change: SessionDataInit = {}): SessionData =>
  new SessionData({ id, version, data: { secret }, userId: 'ada', createdAt: 1000, ...change })

const coded = (code: string, rule?: string): unknown =>
  expect.objectContaining(rule === undefined ? { code } : { code, rule })
const unreadable = coded('ERR_SESSION_RECORD')

let server: RedisServer
/** A client of the test's own, to look behind the store's back. */
let raw: Awaited<ReturnType<typeof openRaw>>

function openRaw() {
  return createClient({ url: server.url }).connect()
}

beforeAll(async () => {
  // Compression would hide from a DUMP what stands in it.
  server = await startRedis({ args: ['--rdbcompression', 'no'] })
  raw = await openRaw()
})
afterAll(async () => {
  await raw.close()
  await server.stop()
})
afterEach(() => server.flushAll())

/** Ends something when the test is over. */
function after<T>(thing: T, end: (thing: T) => unknown): T {
  onTestFinished(async () => void (await end(thing)))
  return thing
}

async function nodeRedis(): Promise<RedisClient> {
  const client = createClient({ url: server.url })
  // The tests stop servers under it.
  client.on('error', () => {})
  return after(await client.connect(), () => client.destroy())
}

async function ioredis(): Promise<RedisClient> {
  const client = new Redis(server.port, '127.0.0.1')
  client.on('error', () => {})
  await once(client, 'ready')
  return after(client, () => client.disconnect())
}

/** What may be missing of a time by now that was whole at a moment of `performance.now()`; in milliseconds, of which two clocks may cut one. */
const elapsedSince = (moment: number): number => Math.ceil(performance.now() - moment) + 1

/** Every command that clients send while `action` runs; what scripts call is not among them. */
async function commandsOf(action: () => Promise<unknown>): Promise<string[][]> {
  const socket = connect(server.port, '127.0.0.1')
  const lines = createInterface({ input: socket })
  const commands: string[][] = []
  const ended = once(lines, 'end-of-action')
  lines.on('line', (line) => {
    if (line.includes('"end-of-action"')) lines.emit('end-of-action')
    else if (line !== '+OK' && !line.includes('[0 lua]'))
      commands.push(Array.from(line.matchAll(/"((?:[^"\\]|\\.)*)"/g), ([, word]) => word!))
  })
  socket.write('MONITOR\r\n')
  await once(lines, 'line')
  await action()
  await raw.echo('end-of-action')
  await ended
  socket.destroy()
  return commands
}

for (const [name, open] of [
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
] as const)
  runContract(
    `RedisSessionStore over ${name}`,
    () => {
      const clock = new ManualClock()
      return {
        open: async () => new RedisSessionStore({ client: await open(), clock }),
        async advance(ms) {
          await clock.advance(ms)
          // The server's own time cannot be moved: instead, every key comes nearer to its end.
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

describe.each([
  { name: 'node-redis', open: nodeRedis },
  { name: 'ioredis', open: ioredis },
])('RedisSessionStore over $name', ({ open }) => {
  let client: RedisClient
  let store: RedisSessionStore

  beforeEach(async () => {
    client = await open()
    store = new RedisSessionStore({ client })
  })

  it.each<[string, (store: RedisSessionStore) => Promise<unknown>]>([
    ['get', (store) => store.get(id)],
    ['load', (store) => store.load(id)],
    ['exists', (store) => store.exists(id)],
    ['set', (store) => store.set(id, record('v2'))],
    ['delete', (store) => store.delete(id)],
    ['create', (store) => store.create(id, record('v2'), 60)],
    ['replace', (store) => store.replace(id, record('v2'), 'v1', 60)],
    ['end', (store) => store.end(id, mark, 'v1')],
    ['touch', (store) => store.touch(id, 60, 'v1')],
    ['noteUser', (store) => store.noteUser(id, 'ada', 60)],
    ['idsOfUser', (store) => store.idsOfUser(id)],
    ['forgetUser', (store) => store.forgetUser(id, ['a', 'b'])],
  ])('sends one command: %s', async (_name, operation) => {
    await store.create(id, record('v1'), 60)
    await operation(store) // tells the server the script
    await store.set(id, record('v1'), 60)
    const commands = await commandsOf(() => operation(store))
    expect(commands).toHaveLength(1)
    const keys = [key, `holdfast:session:user:${id}`]
    expect(commands[0]!.filter((word) => keys.includes(word))).toHaveLength(1)
  })

  it('reads with a plain command, which needs no script', async () => {
    await store.exists('nobody')
    expect(await commandsOf(() => store.load(id))).toEqual([['HMGET', key, 'v', 't', 'd', 'm']])
  })

  it('tells a server the script that it does not know, once', async () => {
    await store.exists('nobody')
    await raw.scriptFlush()
    const names = (
      await commandsOf(async () => {
        expect(await store.create(id, record('v1'), 60)).toBe(true)
        expect(await store.create('another', record('v1'), 60)).toBe(true)
      })
    ).map(([name]) => name)
    expect(names).toEqual(['EVALSHA', 'EVAL', 'EVALSHA'])
  })

  it('does not notice that a server forgets its scripts again and again', async () => {
    await store.create(id, record('0'), 60)
    let done = false
    const flushing = (async () => {
      while (!done) await raw.scriptFlush()
    })()
    for (let n = 0; n < 300; n++) {
      expect(await store.replace(id, record(`${n + 1}`), `${n}`, 60)).toBe(true)
      expect(await store.touch(id, 60)).toBe(true)
    }
    done = true
    await flushing
    expect((await store.get(id))?.version).toBe('300')
  })

  it('keeps a session as one hash of version, touchedAt and payload', async () => {
    await store.create(id, record('v1', { touchedAt: 2000, updatedAt: 1500 }), 60)
    expect(await raw.keys('*')).toEqual([key])
    expect({ ...(await raw.hGetAll(key)) }).toEqual({
      v: 'v1',
      t: '2000',
      d: `[1,1000,1500,null,"ada",[]]\n{"secret":"${secret}"}`,
    })
    expect(await store.load(id)).toEqual(record('v1', { touchedAt: 2000, updatedAt: 1500 }))
    expect((await store.get(id))?.data).toEqual({ secret })
  })

  it('keeps the sessions of a user as one sorted set of when they end at the latest, which ends with the last', async () => {
    const clock = new ManualClock()
    store = new RedisSessionStore({ client, clock })
    const users = `holdfast:session:user:ada`
    const began = performance.now()
    await store.noteUser('ada', 'a', 60)
    await store.noteUser('ada', 'b', 600)
    await store.noteUser('ada', 'b', 30)
    const now = clock.now()
    expect(await raw.zRangeWithScores(users, 0, -1)).toEqual([
      { value: 'a', score: now + 60_000 },
      { value: 'b', score: now + 600_000 },
    ])
    const left = await raw.pTTL(users)
    expect(left).toBeLessThanOrEqual(600_000)
    expect(left).toBeGreaterThanOrEqual(600_000 - elapsedSince(began))
    // Who is over leaves when somebody else comes.
    await clock.advance(100_000)
    await store.noteUser('ada', 'c', 60)
    expect(await raw.zRange(users, 0, -1)).toEqual(['c', 'b'])
    await store.forgetUser('ada', ['b', 'c'])
    expect(await raw.exists(users)).toBe(0)
  })

  it('is asked no more than sessions need, signed in or not', async () => {
    const clock = new ManualClock()
    const sessions = createSessions({ store: new RedisSessionStore({ client, clock }) })
    const namesOf = async (cookie: string | null, use: (session: Session) => unknown): Promise<string[]> => {
      const commands = await commandsOf(async () => void (await visit(sessions, cookie, use)))
      return commands.map(([name]) => name!)
    }
    const write = (session: Session): void => void session.update('n', (n = 0) => (n as number) + 1)
    const signIn = (session: Session): void => session.signIn('ada')
    const rotate = (session: Session): void => session.rotate()
    // Tells the server all scripts.
    let { cookie } = await visit(sessions, null, signIn)
    ;({ cookie } = await visit(sessions, cookie, rotate))
    await visit(sessions, cookie, write)
    await sessions.forUser('ada').list()
    expect(await namesOf(cookie, (session) => session.get('n'))).toEqual(['HMGET'])
    expect(await namesOf(cookie, write)).toEqual(['HMGET', 'EVALSHA'])
    expect(await namesOf(null, write)).toEqual(['EVALSHA'])
    // The record, and whose it is; then the end of the old one, and the new one's time.
    expect(await namesOf(null, signIn)).toEqual(['EVALSHA', 'EVALSHA'])
    expect(await namesOf(cookie, rotate)).toEqual(['HMGET', 'EVALSHA', 'EVALSHA', 'EVALSHA', 'EVALSHA'])
    // Once a minute it is noted that somebody was active, and who that was.
    ;({ cookie } = await visit(sessions, null, signIn))
    await clock.advance(60_000)
    expect(await namesOf(cookie, (session) => session.get('n'))).toEqual(['HMGET', 'EVALSHA', 'EVALSHA'])
  })

  it('gives the record the id that was looked up', async () => {
    await store.set(id, record('v1', { id: 'somebody-else' }))
    expect((await store.get(id))?.id).toBe(id)
  })

  it('puts its prefix before the id', async () => {
    await new RedisSessionStore({ client, prefix: 'app:' }).set(id, record('v1'))
    expect(await raw.keys('*')).toEqual([`app:${id}`])
    expect(await store.get(id)).toBe(null)
  })

  describe('time to live', () => {
    it.each<[string, number, (store: RedisSessionStore) => Promise<unknown>]>([
      ['create', 90_500, (store) => store.create('new', record('v1'), 90.5)],
      ['replace, though it is shorter', 30_500, (store) => store.replace(id, record('v2'), 'v1', 30.5)],
      [
        'replace, rounded to whole milliseconds',
        30_001,
        (store) => store.replace(id, record('v2'), 'v1', 30.0006),
      ],
      ['set', 90_000, (store) => store.set(id, record('v2'), 90)],
      ['set without a ttl', 3_600_000, (store) => store.set(id, record('v2'))],
      ['touch', 90_000, (store) => store.touch(id, 90)],
      ['touch, where it would be shorter', 60_000, (store) => store.touch(id, 1)],
      ['touch, where it would be none', 60_000, (store) => store.touch(id, 0)],
      ['a mark', 30_000, (store) => store.end(id, mark)],
      ['for ever and a day', 2 ** 53, (store) => store.create('new', record('v1'), Infinity)],
    ])('of %s is %d ms', async (name, expected, operation) => {
      const began = performance.now()
      await store.create(id, record('v1'), 60)
      await operation(store)
      const left = await raw.pTTL(
        ['create', 'for ever and a day'].includes(name) ? 'holdfast:session:new' : key,
      )
      expect(left).toBeLessThanOrEqual(expected)
      expect(left).toBeGreaterThanOrEqual(expected - elapsedSince(began))
    })

    it('is defaultTtl where set is told none', async () => {
      const began = performance.now()
      await new RedisSessionStore({ client, defaultTtl: 100 }).set(id, record('v1'))
      const left = await raw.pTTL(key)
      expect(left).toBeLessThanOrEqual(100_000)
      expect(left).toBeGreaterThanOrEqual(100_000 - elapsedSince(began))
    })

    it.each([0, -1, -0.0001, NaN])('of %d is over at once', async (ttl) => {
      expect(await store.create(id, record('v1'), ttl)).toBe(true)
      expect(await raw.exists(key)).toBe(0)
      await store.set(id, record('v1'), 60)
      expect(await store.create(id, record('v2'), ttl)).toBe(false)
      expect(await store.replace(id, record('v2'), 'other', ttl)).toBe(false)
      expect(await raw.exists(key)).toBe(1)
      expect(await store.replace(id, record('v2'), 'v1', ttl)).toBe(true)
      expect(await raw.exists(key)).toBe(0)
      await store.set(id, record('v1'), 60)
      await store.set(id, record('v1'), ttl)
      expect(await raw.exists(key)).toBe(0)
    })

    it('stays endless where somebody made it so', async () => {
      await store.create(id, record('v1'), 60)
      await raw.persist(key)
      expect(await store.touch(id, 0)).toBe(true)
      expect(await store.touch(id, 60)).toBe(true)
      expect(await raw.pTTL(key)).toBe(-1)
    })
  })

  describe('touch', () => {
    const at = (now: number): RedisSessionStore =>
      new RedisSessionStore({ client, clock: { ...systemClock, now: () => now } })

    it('moves touchedAt to the present of its clock, forward only, and writes nothing else', async () => {
      await store.create(id, record('v1', { touchedAt: 1_700_000_000_000 }), 60)
      const before = await raw.hGetAll(key)
      await at(1_700_000_000_001).touch(id, 60)
      expect({ ...(await raw.hGetAll(key)) }).toEqual({ ...before, t: '1700000000001' })
      await at(1_699_999_999_999).touch(id, 60)
      expect({ ...(await raw.hGetAll(key)) }).toEqual({ ...before, t: '1700000000001' })
    })

    it.each<[string, () => Promise<unknown>, string?]>([
      ['a missing record', async () => {}],
      ['another version', () => store.create(id, record('v2'), 60), 'v1'],
      ['a mark', () => store.create(id, record('v1'), 60).then(() => store.end(id, mark))],
    ])('leaves %s alone', async (_name, prepare, version) => {
      await prepare()
      const before = await raw.hGetAll(key)
      expect(await store.touch(id, 3600, version)).toBe(false)
      expect(await raw.hGetAll(key)).toEqual(before)
      expect(await raw.pTTL(key)).toBeLessThanOrEqual(60_000)
    })

    it('is not undone by a replace that began before it', async () => {
      await store.create(id, record('v1', { touchedAt: 1000 }), 60)
      await at(5000).touch(id, 60)
      await store.replace(id, record('v2', { touchedAt: 1000 }), 'v1', 60)
      expect((await store.get(id))?.touchedAt).toBe(5000)
      await store.replace(id, record('v3', { touchedAt: 10_000 }), 'v2', 60)
      expect((await store.get(id))?.touchedAt).toBe(10_000)
    })
  })

  describe('a mark', () => {
    const rotated: Mark = { kind: 'mark', reason: 'rotated', successor: 'next', sameUser: true }

    it('leaves nothing of the record in Redis', async () => {
      await store.create(id, record('v1', { userId: 'a-user-nobody-may-see' }), 60)
      expect((await raw.dump(key))?.toString()).toContain(secret)
      expect(await store.end(id, rotated, 'v1')).toBe(true)
      expect({ ...(await raw.hGetAll(key)) }).toEqual({ m: '[1,"rotated","next",true]' })
      expect((await raw.dump(key))?.toString()).not.toMatch(/nobody-may-see|v1/)
      expect(await raw.dbSize()).toBe(1)
    })

    it('is seen by load alone, and revived by nothing', async () => {
      await store.create(id, record('v1'), 60)
      await store.end(id, rotated)
      expect(await store.load(id)).toEqual(rotated)
      expect(await store.get(id)).toBe(null)
      expect(await store.exists(id)).toBe(false)
      expect(await store.delete(id)).toBe(false)
      expect(await store.create(id, record('v2'), 60)).toBe(false)
      expect(await store.replace(id, record('v2'), 'v1', 60)).toBe(false)
      expect(await store.replace(id, record('v2'), '', 60)).toBe(false)
      expect(await store.touch(id, 60)).toBe(false)
      expect(await store.end(id, mark)).toBe(false)
      expect(await store.load(id)).toEqual(rotated)
    })

    it('takes the place of the expected version only', async () => {
      expect(await store.end(id, mark)).toBe(false)
      await store.create(id, record('v1'), 60)
      expect(await store.end(id, mark, 'v0')).toBe(false)
      expect(await store.end(id, mark, '')).toBe(false)
      expect((await store.get(id))?.version).toBe('v1')
      expect(await store.end(id, mark, 'v1')).toBe(true)
    })
  })

  describe('a full Redis', () => {
    beforeEach(() => void after(null, () => raw.configSet('maxmemory', '0')))

    it('refuses to keep more, in its own words, which hold no session data', async () => {
      await store.create(id, record('v1'), 60)
      await raw.configSet('maxmemory', '1')
      for (const write of [
        () => store.create('new', record('v1'), 60),
        () => store.replace(id, record('v2'), 'v1', 60),
      ]) {
        const error: unknown = await write().catch((error: unknown) => error)
        expect(error).toMatchObject({ message: expect.stringContaining('OOM') as string })
        expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain(secret)
      }
      expect((await store.get(id))?.version).toBe('v1')
      expect(await store.exists('new')).toBe(false)
    })

    it('still takes hints', async () => {
      await raw.configSet('maxmemory', '1')
      await store.noteUser('ada', id, 60)
      expect(await store.idsOfUser('ada')).toEqual([id])
    })

    it('still lets visitors sign out', async () => {
      await store.create(id, record('v1'), 60)
      await raw.configSet('maxmemory', '1')
      expect(await store.end(id, mark)).toBe(true)
      expect(await store.load(id)).toEqual(mark)
    })
  })

  it('lets exactly one of a hundred racing writers win', async () => {
    const stores = [store, new RedisSessionStore({ client: await open() })]
    await store.create(id, record('v0'), 60)
    const versions = Array.from({ length: 100 }, (_, n) => `writer-${n}`)
    const won = await Promise.all(
      versions.map((version, n) => stores[n % 2]!.replace(id, record(version), 'v0', 60)),
    )
    expect(won.filter(Boolean)).toHaveLength(1)
    expect((await store.get(id))?.version).toBe(versions[won.indexOf(true)])
    const created = await Promise.all(
      versions.map((version, n) => stores[n % 2]!.create('new', record(version), 60)),
    )
    expect(created.filter(Boolean)).toHaveLength(1)
    const ended = await Promise.all(versions.map((_, n) => stores[n % 2]!.end(id, mark)))
    expect(ended.filter(Boolean)).toHaveLength(1)
  })

  describe('what cannot be read', () => {
    const good = { v: 'v1', t: '1000', d: `[1,1000,1000,null,null,[]]\n{"secret":"${secret}"}` }
    const line = '[1,1000,1000,null,null,[]]\n'

    // The thirteen of SECURITY.md S28, in the place of the whole payload or of the data in it.
    it.each<[string, Record<string, string | Buffer>]>([
      ['not JSON', { ...good, d: 'secret' }],
      ['not JSON below its line', { ...good, d: `${line}secret` }],
      ['empty', { ...good, d: '' }],
      ['empty below its line', { ...good, d: line }],
      ['null', { ...good, d: 'null' }],
      ['null below its line', { ...good, d: `${line}null` }],
      ['a list', { ...good, d: '[]' }],
      ['a list below its line', { ...good, d: `${line}["secret"]` }],
      ['a string', { ...good, d: '"secret"' }],
      ['a string below its line', { ...good, d: `${line}"secret"` }],
      ['a number', { ...good, d: '42' }],
      ['a number below its line', { ...good, d: `${line}42` }],
      ['an empty object', { ...good, d: '{}' }],
      ['__proto__', { ...good, d: '{"__proto__":{"secret":1}}' }],
      ['cut off in its line', { ...good, d: good.d.slice(0, 10) }],
      ['cut off in its data', { ...good, d: good.d.slice(0, -1) }],
      ['nested 20,000 deep', { ...good, d: '['.repeat(20_000) }],
      ['nested 20,000 deep, with a line end', { ...good, d: `${'['.repeat(20_000)}\n{}` }],
      ['of wrong types', { ...good, d: `[1,"1000",1000,null,7,{}]\n{"secret":1}` }],
      ['of a later format', { ...good, d: good.d.replace('[1', '[2') }],
      [
        'not UTF-8',
        { ...good, d: Buffer.from([...Buffer.from(`${line}{"secret":"`), 0xc3, 0x28, 0x22, 0x7d]) },
      ],
      ['not UTF-8 in its version', { ...good, v: Buffer.from([0xff]) }],
      ['touched at an empty time', { ...good, t: '' }],
      ['touched at a time in words', { ...good, t: 'secret' }],
      ['touched at a time in hexadecimal', { ...good, t: '0x10' }],
      ['touched beyond all dates', { ...good, t: '9'.repeat(400) }],
      ['without a version', { t: good.t, d: good.d }],
      ['without touchedAt', { v: good.v, d: good.d }],
      ['without a payload', { v: good.v, t: good.t }],
      ['a mark that is none', { m: 'secret' }],
      ['a mark of a later format', { m: '[2,"destroyed",null,false]' }],
    ])('is refused, and can be removed or written over: %s', async (_name, fields) => {
      await raw.hSet(key, fields)
      for (const reading of [() => store.get(id), () => store.load(id)]) {
        await expect(reading()).rejects.toEqual(unreadable)
        await expect(reading()).rejects.toThrow(/^(?!.*secret)/)
      }
      expect(await store.create(id, record('v2'), 60)).toBe(false)
      expect(await store.replace(id, record('v2'), 'v0', 60)).toBe(false)
      if (!('m' in fields)) expect(await store.delete(id)).toBe(true)
      await store.set(id, record('v2'))
      expect((await store.get(id))?.data).toEqual({ secret })
    })

    it.each([
      ['not JSON between its braces', '{secret}'],
      ['nested 20,000 deep between its braces', `{"secret":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
    ])('shows when its data is read: %s', async (_name, data) => {
      await raw.hSet(key, { ...good, d: line + data })
      const found = await store.get(id)
      expect(() => found?.data).toThrow(unreadable)
      expect(() => found?.data).toThrow(/^(?!.*secret)/)
    })

    it('takes __proto__ in the data for a key like any other', async () => {
      await raw.hSet(key, { ...good, d: `${line}{"__proto__":{"admin":true}}` })
      const { data } = (await store.get(id))!
      expect(Object.keys(data)).toEqual(['__proto__'])
      expect(data.admin).toBe(undefined)
    })

    it.each<[string, () => Promise<unknown>]>([
      ['a string', () => raw.set(key, 'theirs')],
      ['a list', () => raw.rPush(key, 'theirs')],
      ['a set', () => raw.sAdd(key, 'theirs')],
    ])('is another application’s %s, which stays', async (_name, put) => {
      await put()
      const before = await raw.dump(key)
      for (const operation of [
        () => store.get(id),
        () => store.load(id),
        () => store.exists(id),
        () => store.delete(id),
        () => store.replace(id, record('v2'), 'v1', 60),
        () => store.end(id, mark),
        () => store.touch(id, 60),
      ])
        await expect(operation()).rejects.toEqual(unreadable)
      expect(await store.create(id, record('v2'), 60)).toBe(false)
      expect(await raw.dump(key)).toEqual(before)
      expect(await raw.pTTL(key)).toBe(-1)
    })

    it('is not made readable by touching it', async () => {
      await raw.hSet(key, { v: 'v1', d: good.d })
      await raw.pExpire(key, 5000)
      expect(await store.touch(id, 60)).toBe(false)
      expect({ ...(await raw.hGetAll(key)) }).toEqual({ v: 'v1', d: good.d })
      expect(await raw.pTTL(key)).toBeLessThanOrEqual(5000)
    })
  })

  describe('what Redis says of itself', () => {
    it('is asked for beside the first command, and once a minute', async () => {
      let up = 0
      const clock = new ServerClock({ ...systemClock, monotonic: () => up })
      const store = new RedisSessionStore({ client, clock })
      const names = async (): Promise<string[]> =>
        (await commandsOf(() => Promise.all([store.load(id), store.load(id)]))).map(([name]) => name!)
      expect(await names()).toEqual(['EVAL', 'HMGET', 'HMGET'])
      up = 59_999
      expect(await names()).toEqual(['HMGET', 'HMGET'])
      up = 60_000
      expect(await names()).toEqual(['EVAL', 'HMGET', 'HMGET'])
    })

    it('is what time it is, whatever the machine believes', async () => {
      after(
        vi.spyOn(systemClock, 'now').mockImplementation(() => Date.now() + 960_000),
        (now) => now.mockRestore(),
      )
      const store = new RedisSessionStore({ client })
      expect(store.clock.now() - Date.now()).toBeGreaterThan(950_000)
      const asked = performance.now()
      await store.clock.ready?.()
      expect(Math.abs(store.clock.now() - Date.now())).toBeLessThanOrEqual(elapsedSince(asked))
      expect(store.clock.ready?.()).toBe(null)
      await store.create(id, record('v1'), 60)
      await store.touch(id, 60)
      expect(Math.abs((await store.get(id))!.touchedAt - Date.now())).toBeLessThanOrEqual(elapsedSince(asked))
    })

    it('gives way to a clock that the store is given', async () => {
      const clock = new ManualClock()
      const store = new RedisSessionStore({ client, clock })
      await store.create(id, record('v1'), 60)
      expect(store.clock).toBe(clock)
      expect((await store.get(id))?.createdAt).toBe(1000)
    })

    describe('that it evicts', () => {
      beforeEach(() => {
        after(vi.spyOn(console, 'warn').mockReturnValue(), (warn) => warn.mockRestore())
        after(null, async () => {
          await raw.configSet('maxmemory-policy', 'noeviction')
          await raw.aclSetUser('default', ['+@all'])
        })
      })

      it.each(['allkeys-lru', 'allkeys-lfu', 'allkeys-random'])('is warned of, once: %s', async (policy) => {
        const events: unknown[] = []
        const note = (event: unknown): void => void events.push(event)
        subscribe('holdfast:event', note)
        after(null, () => unsubscribe('holdfast:event', note))
        await raw.configSet('maxmemory-policy', policy)
        await Promise.all([store.get(id), store.get(id)])
        await store.get(id)
        expect(console.warn).toHaveBeenCalledOnce()
        expect(console.warn).toHaveBeenCalledWith(expect.stringContaining(`maxmemory-policy ${policy}`))
        const remedy = expect.stringContaining('noeviction') as unknown
        expect(events).toEqual([{ kind: 'unfit-store', reason: 'evicts', remedy }])
      })

      it.each(['noeviction', 'volatile-lru', 'volatile-ttl'])(
        'is not where it does not: %s',
        async (policy) => {
          await raw.configSet('maxmemory-policy', policy)
          await store.get(id)
          expect(console.warn).not.toHaveBeenCalled()
        },
      )

      it.each<[string, string[]]>([
        ['the time, and the settings', ['-time', '-info']],
        ['any script', ['-eval']],
      ])('is no matter where a user may not ask for %s', async (_, rules) => {
        await raw.configSet('maxmemory-policy', 'allkeys-lru')
        await raw.aclSetUser('default', rules)
        expect(await store.get(id)).toBe(null)
        expect(Math.abs(store.clock.now() - Date.now())).toBeLessThan(1000)
        expect(console.warn).not.toHaveBeenCalled()
      })
    })
  })

  it('hands other errors of Redis on as they are', async () => {
    after(null, () => raw.aclSetUser('default', '+hmget'))
    await raw.aclSetUser('default', '-hmget')
    await expect(store.get(id)).rejects.toThrow(/^NOPERM/)
  })

  it('leaves a client open that was handed in', async () => {
    await store.close()
    await store.close()
    await using same = new RedisSessionStore({ client })
    expect(await same.create(id, record('v1'), 60)).toBe(true)
  })
})

describe('a write that ioredis sends again after its reply was cut off', () => {
  it('is no refusal where another write came on top: nobody knows what became of it', async () => {
    const proxy = after(await startTcpProxy(server.port), (proxy) => proxy.stop())
    const client = after(new Redis(proxy.port, '127.0.0.1'), (client) => client.disconnect())
    client.on('error', () => {})
    const store = new RedisSessionStore({ client })
    const other = new RedisSessionStore({ client: await nodeRedis() })
    await store.create(id, record('v1'), 60)
    await store.touch(id, 60)
    const cut = proxy.cut()
    const write = store.replace(id, record('v2'), 'v1', 60)
    await cut
    expect(await other.replace(id, record('v3'), 'v2', 60)).toBe(true)
    await expect(write).rejects.toEqual(coded('ERR_SESSION_STORE'))
    // From then on refusals are refusals again.
    expect(await store.replace(id, record('v4'), 'v1', 60)).toBe(false)
  })
})

describe('RedisSessionStore at construction', () => {
  const make = (options: unknown): RedisSessionStore =>
    new RedisSessionStore(options as RedisSessionStoreOptions)

  it.each<[string, unknown, string]>([
    ['nothing', {}, 'redis-url-or-client'],
    ['undefined for both', { url: undefined, client: undefined }, 'redis-url-or-client'],
    ['null for both', { url: null, client: null }, 'redis-url-or-client'],
    ['both', { url: 'redis://localhost', client: { call: () => {} } }, 'redis-url-or-client'],
    ['an empty url', { url: '' }, 'redis-url'],
    ['a url of something else', { url: 'https://localhost' }, 'redis-url'],
    ['a url with a port that is none', { url: 'redis://user:hunter2@localhost:port' }, 'redis-url'],
    ['a client of something else', { client: {} }, 'redis-client'],
    [
      'an option that does not exist',
      { url: 'redis://localhost', keyPrefix: 'app:' },
      'redis-unknown-option',
    ],
    ['a prefix that is no string', { url: 'redis://localhost', prefix: 7 }, 'redis-prefix'],
    ['a default that is over at once', { url: 'redis://localhost', defaultTtl: 0 }, 'redis-default-ttl'],
  ])('refuses %s', (_name, options, rule) => {
    expect(() => make(options)).toThrow(coded('ERR_SESSION_OPTION', rule) as Error)
    expect(() => make(options)).toThrow(/^(?!.*hunter2)/)
  })

  it('takes a client or a url, as its types say', () => {
    // @ts-expect-error there is neither
    expect(() => new RedisSessionStore({})).toThrow()
    // @ts-expect-error there are both
    expect(() => new RedisSessionStore({ url: 'redis://localhost', client: raw })).toThrow()
    // @ts-expect-error it is no client
    expect(() => new RedisSessionStore({ client: { get() {} } })).toThrow()
  })

  it('says that it is atomic across processes', () => {
    expect(make({ url: 'redis://localhost' }).atomic).toBe(true)
  })
})

describe('RedisSessionStore with a url', () => {
  const connections = async (): Promise<number> =>
    Number(/total_connections_received:(\d+)/.exec(await raw.info('stats'))![1])
  const clients = async (): Promise<number[]> => (await raw.clientList()).map(({ id }) => id)
  const since = async (before: number[]): Promise<number[]> =>
    (await clients()).filter((id) => !before.includes(id))
  /** How often stores have asked for the time, and how Redis evicts. */
  const greeted = async (): Promise<number> =>
    Number(/cmdstat_eval:calls=(\d+)/.exec(await raw.info('commandstats'))![1])
  const open = (url = server.url, clock = systemClock): RedisSessionStore =>
    after(new RedisSessionStore({ url, clock }), (store) => store.close())

  it('connects at the first operation, once for all that come together', async () => {
    const before = await connections()
    const store = open()
    expect(await connections()).toBe(before)
    await Promise.all(Array.from({ length: 20 }, (_, n) => store.create(`${n}`, record('v1'), 60)))
    expect(await connections()).toBe(before + 1)
  })

  it('connects before the first operation when it is told to', async () => {
    const before = await connections()
    // By a clock that stands, so that a greeting may take its time.
    const store = open(server.url, { ...systemClock, monotonic: () => 0 })
    await Promise.all([store.connect(), store.connect()])
    expect(await connections()).toBe(before + 1)
    const greetings = await greeted()
    await store.exists(id)
    expect([await connections(), await greeted()]).toEqual([before + 1, greetings])
  })

  it('connects for writes that replicas confirm as well', async () => {
    const before = await connections()
    const store = after(
      new RedisSessionStore({ url: server.url, durability: { replicas: 1, timeout: 0.001 } }),
      (store) => store.close(),
    )
    await store.connect()
    expect(await connections()).toBe(before + 2)
    await expect(store.create(id, record('v1'), 60)).rejects.toEqual(coded('ERR_SESSION_NOT_REPLICATED'))
    expect(await connections()).toBe(before + 2)
  })

  it('loads its driver when it is made, and not when somebody waits', async () => {
    const script = `
      import { registerHooks } from 'node:module'
      registerHooks({
        resolve(name, context, next) {
          if (name === 'redis') console.log('loaded')
          return next(name, context)
        },
      })
      const { RedisSessionStore } = await import(${JSON.stringify(new URL('../../src/stores/redis.ts', import.meta.url))})
      console.log('imported')
      new RedisSessionStore({ url: 'redis://127.0.0.1:1' })`
    const { stdout } = await run(['--input-type=module', '--eval', script])
    expect(stdout).toBe('imported\nloaded\n')
  })

  it('closes its connection, and says so afterwards', async () => {
    const before = await clients()
    const store = open()
    await store.create(id, record('v1'), 60)
    expect(await since(before)).toHaveLength(1)
    await Promise.all([store.close(), store.close()])
    await store.close()
    await eventually(async () => expect(await since(before)).toEqual([]))
    await expect(store.get(id)).rejects.toEqual(coded('ERR_SESSION_STORE'))
  })

  it('answers what was asked before it was closed', async () => {
    const before = await clients()
    const store = open(server.url, {
      ...systemClock,
      sleep: (ms, signal) => systemClock.sleep(60 * ms, signal),
    })
    const created = store.create(id, record('v1'), 60)
    await store.close()
    expect(await created).toBe(true)
    await eventually(async () => expect(await since(before)).toEqual([]))
  })

  it('has nothing to close before the first operation', async () => {
    const before = await connections()
    const store = open()
    await store.close()
    await expect(store.get(id)).rejects.toEqual(coded('ERR_SESSION_STORE'))
    await expect(store.connect()).rejects.toEqual(coded('ERR_SESSION_STORE'))
    expect(await connections()).toBe(before)
  })

  it('does not wait for a server that hangs when it is closed', async () => {
    const other = after(await startRedis(), (other) => other.stop())
    let { sleep } = systemClock
    const store = open(other.url, { ...systemClock, sleep: (ms, signal) => sleep(ms, signal) })
    await store.create(id, record('v1'), 60)
    // Its patience is over at once.
    sleep = () => Promise.resolve()
    other.kill('SIGSTOP')
    const hanging = expect(store.get(id)).rejects.toThrow()
    await store.close()
    await hanging
  })

  it('tries again at the next operation when it could not connect', async () => {
    const port = await freePort()
    const store = open(`redis://127.0.0.1:${port}`)
    await expect(store.connect()).rejects.toThrow('ECONNREFUSED')
    await expect(store.get(id)).rejects.toThrow('ECONNREFUSED')
    await expect(Promise.all([store.get(id), store.get(id)])).rejects.toThrow('ECONNREFUSED')
    after(await startRedis({ port }), (other) => other.stop())
    await store.connect()
    expect(await store.create(id, record('v1'), 60)).toBe(true)
  })

  it('lives through the loss of its connection, and tells of it', async () => {
    const events: unknown[] = []
    const note = (event: unknown): void => void events.push(event)
    subscribe('holdfast:event', note)
    after(null, () => unsubscribe('holdfast:event', note))
    const port = await freePort()
    const first = after(await startRedis({ port }), (first) => first.stop())
    const store = open(first.url)
    await store.create(id, record('v1'), 60)
    await first.stop()
    await expect(store.get(id)).rejects.toThrow()
    const lost = { kind: 'store-failure', operation: 'connect', error: expect.any(Error) as unknown }
    await eventually(() => expect(events).toContainEqual(lost))
    await expect(store.get(id)).rejects.toThrow('offline')
    after(await startRedis({ port }), (second) => second.stop())
    await eventually(() => store.create(id, record('v1'), 60))
    expect((await store.get(id))?.version).toBe('v1')
  })

  it('opens another connection in place of one that has gone silent', async () => {
    const proxy = after(await startTcpProxy(server.port), (proxy) => proxy.stop())
    let up = 0
    const store = open(`redis://127.0.0.1:${proxy.port}`, { ...systemClock, monotonic: () => up })
    await store.create(id, record('v1'), 60)
    proxy.swallow()
    const silent = expect(store.get(id)).rejects.toThrow()
    up = 1000
    const patient = expect(store.get(id)).rejects.toThrow()
    expect(proxy.connections).toBe(1)
    up = 1001
    const alarmed = expect(store.get(id)).rejects.toThrow()
    await eventually(() => expect(proxy.connections).toBe(2))
    proxy.forget()
    await Promise.all([silent, patient, alarmed])
    expect((await store.get(id))?.version).toBe('v1')
  })

  it('stays with a connection that was only slow', async () => {
    const proxy = after(await startTcpProxy(server.port), (proxy) => proxy.stop())
    let up = 0
    const store = open(`redis://127.0.0.1:${proxy.port}`, { ...systemClock, monotonic: () => up })
    await store.create(id, record('v1'), 60)
    proxy.swallow()
    const slow = store.get(id)
    up = 1001
    const alarmed = store.get(id)
    await eventually(() => expect(proxy.connections).toBe(2))
    proxy.passOld()
    expect((await Promise.all([slow, alarmed])).map((found) => found?.version)).toEqual(['v1', 'v1'])
    proxy.pass()
    await eventually(() => expect(proxy.connections).toBe(1))
    expect((await store.get(id))?.version).toBe('v1')
  })

  it('lets the process end by itself once it is closed', async () => {
    const script = `
      import { RedisSessionStore } from ${JSON.stringify(new URL('../../src/stores/redis.ts', import.meta.url))}
      const store = new RedisSessionStore({ url: ${JSON.stringify(server.url)} })
      console.log(await store.exists('nobody'))
      await store.close()`
    const { stdout } = await run(['--input-type=module', '--eval', script])
    expect(stdout).toBe('false\n')
  })

  it('names the package to install when there is none', async () => {
    const folder = after(await temporaryFolder(), (folder) => folder.remove())
    await cp(new URL('../../src', import.meta.url), join(folder.path, 'src'), { recursive: true })
    await writeFile(
      join(folder.path, 'main.ts'),
      `import { RedisSessionStore } from './src/stores/redis.ts'
       const store = new RedisSessionStore({ url: 'redis://127.0.0.1:1' })
       for (const _ of [1, 2]) await store.get('id').catch(({ code, message }) => console.log(code, message))`,
    )
    const { stdout } = await run([join(folder.path, 'main.ts')])
    expect(stdout.match(/^ERR_SESSION_NO_DRIVER .*`npm install redis`/gm)).toHaveLength(2)
  })
})

describe('RedisSessionStore over every kind of client', () => {
  let cluster: RedisCluster
  let sentinel: RedisServer

  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: 2 })
    return () => cluster.stop()
  })
  beforeAll(async () => {
    sentinel = await startSentinel(server.port)
    return () => sentinel.stop()
  })

  const buffers = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.NUMBER]: String } }
  const nodes = (): string[] => cluster.masters.map(({ url }) => url)
  const rootNodes = (): { url: string }[] => nodes().map((url) => ({ url }))

  it.each<[string, () => Promise<RedisClient>]>([
    ['node-redis in RESP 2', async () => connected(createClient({ url: server.url, RESP: 2 }))],
    ['node-redis in RESP 3', async () => connected(createClient({ url: server.url, RESP: 3 }))],
    [
      'node-redis with replies as Buffers',
      async () => connected(createClient({ url: server.url, commandOptions: buffers })),
    ],
    ['a pool of node-redis', async () => connected(createClientPool({ url: server.url }))],
    [
      'a Cluster by node-redis',
      async () => connected(createCluster({ rootNodes: rootNodes(), useReplicas: true })),
    ],
    [
      'a Cluster by node-redis with replies as Buffers',
      async () => connected(createCluster({ rootNodes: rootNodes(), commandOptions: buffers })),
    ],
    [
      'a Sentinel by node-redis',
      async () =>
        connected(
          createSentinel({ name: 'main', sentinelRootNodes: [{ host: '127.0.0.1', port: sentinel.port }] }),
        ),
    ],
    [
      'ioredis with auto-pipelining',
      async () => disconnected(new Redis(server.port, { enableAutoPipelining: true })),
    ],
    [
      'ioredis with a prefix of its own, numbers as strings',
      async () => disconnected(new Redis(server.port, { keyPrefix: 'app:', stringNumbers: true })),
    ],
    ['a Cluster by ioredis', async () => disconnected(new Cluster(nodes()))],
    [
      'a Cluster by ioredis with auto-pipelining',
      async () => disconnected(new Cluster(nodes(), { enableAutoPipelining: true, keyPrefix: 'app:' })),
    ],
    [
      'a Sentinel by ioredis',
      async () =>
        disconnected(new Redis({ name: 'main', sentinels: [{ host: '127.0.0.1', port: sentinel.port }] })),
    ],
  ])('%s', async (name, open) => {
    const store = new RedisSessionStore({ client: await open() })
    const ids = Array.from({ length: 20 }, (_, n) => `${n}-${Math.random()}`)
    await Promise.all(
      ids.map(async (id) => {
        expect(await store.load(id)).toBe(null)
        expect(await store.create(id, record('v1'), 60)).toBe(true)
        expect(await store.create(id, record('v1'), 60)).toBe(false)
        expect(await store.touch(id, 60)).toBe(true)
        expect(await store.replace(id, record('v2', { data: { name: 'Zoë \u{1F511}' } }), 'v1', 60)).toBe(
          true,
        )
        expect((await store.get(id))?.data).toEqual({ name: 'Zoë \u{1F511}' })
        expect(await store.exists(id)).toBe(true)
        expect(await store.end(id, mark, 'v2')).toBe(true)
        expect(await store.load(id)).toEqual(mark)
        await store.set(id, record('v3'))
        expect(await store.delete(id)).toBe(true)
      }),
    )
    for (const node of cluster.masters) expect(await redirections(node)).toBe(0)
    const other = new RedisSessionStore({ client: await open() })
    // More than once, where a Cluster moves its subscriber to another node meanwhile.
    const told = new Set<string>()
    await Promise.all(ids.map((id) => store.set(id, record('v1'))))
    const unwatch = await Promise.all(
      ids.map((id) => store.watch(id, (version) => void (version === null && told.add(id)))),
    )
    await Promise.all(ids.map((id) => other.end(id, mark)))
    // A pool has no connection to hear by, which it says once.
    const heard = name.startsWith('a pool') ? 0 : 20
    await eventually(() => expect(told.size).toBe(heard))
    expect(await store.peek(ids)).toEqual(ids.map(() => mark))
    for (const stop of unwatch) stop()
    await Promise.all([store.close(), other.close()])
  })

  it('a key of a Cluster whose slot is being moved is written as any other', async () => {
    const clock = new ManualClock()
    const store = new RedisSessionStore({ client: disconnected(new Cluster(nodes())), clock })
    const keys = [`holdfast:session:${id}`, 'holdfast:session:user:ada']
    await store.create(id, record('v1'), 60)
    await store.noteUser('ada', 'old', 60)
    // The next one finds the set to hold nothing that need still be looked at.
    await clock.advance(60_001)
    const [low, high] = cluster.masters as [ClusterNode, ClusterNode]
    const moves = await Promise.all(
      keys.map(async (key) => {
        const slot = Number(await low.ask('CLUSTER', 'KEYSLOT', key))
        return slot < 8192 ? cluster.beginMove(low, high, [slot]) : cluster.beginMove(high, low, [slot])
      }),
    )
    await store.set(id, record('v2'))
    await store.noteUser('ada', 'new', 60)
    expect(await store.idsOfUser('ada')).toEqual(['new'])
    expect(await store.end(id, mark)).toBe(true)
    expect(await store.load(id)).toEqual(mark)
    await store.set(id, record('v3'))
    for (const move of moves) await move.carry()
    for (const move of moves) await move.finish()
    expect((await store.get(id))?.version).toBe('v3')
    expect(await store.idsOfUser('ada')).toEqual(['new'])
  })

  /** How many commands a node of the cluster has sent elsewhere. */
  async function redirections(node: ClusterNode): Promise<number> {
    const { ASK = 0, MOVED = 0 } = await errorsOf([node])
    return ASK + MOVED
  }

  async function connected<
    C extends {
      connect(): Promise<unknown>
      destroy(): unknown
      on(event: 'error', listener: () => void): unknown
    },
  >(client: C): Promise<C> {
    client.on('error', () => {})
    after(client, () => client.destroy())
    await client.connect()
    return client
  }

  function disconnected<C extends Redis | Cluster>(client: C): C {
    return after(client, () => client.disconnect())
  }
})

function run(args: string[]): Promise<{ stdout: string }> {
  return promisify(execFile)(process.execPath, ['--unhandled-rejections=strict', ...args])
}
