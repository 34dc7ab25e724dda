import { setImmediate as nextTurn } from 'node:timers/promises'

import { describe, expect, test } from 'vitest'

import { runContract } from '../../test/stores/run-contract.ts'
import type { Clock } from '../clock.ts'
import { ManualClock } from '../testing/clock.ts'
import { SessionData } from './session-data.ts'
import type { Mark } from './store.ts'
import { DEFAULT_TTL, deadlineOf, isMark, SessionStore, withTouchedAt } from './store.ts'

/** What a user writes: four methods, each slow enough for others to come in between. */
class FourMethodStore extends SessionStore {
  readonly texts = new Map<string, { text: string; endsAt: number }>()
  /** Runs before each of the four, and holds it up. */
  before: (method: string, id: string) => Promise<unknown> = () => nextTurn()

  constructor(clock: Clock = new ManualClock()) {
    super({ clock })
  }

  async get(id: string): Promise<SessionData | null> {
    await this.before('get', id)
    const entry = this.#live(id)
    return entry === undefined ? null : SessionData.fromJSON({ ...JSON.parse(entry.text), id })
  }

  async set(id: string, data: SessionData, ttl: number = DEFAULT_TTL): Promise<void> {
    const text = JSON.stringify(data)
    await this.before('set', id)
    this.texts.set(id, { text, endsAt: this.clock.now() + ttl * 1000 })
  }

  async delete(id: string): Promise<boolean> {
    await this.before('delete', id)
    return this.#live(id) !== undefined && this.texts.delete(id)
  }

  async exists(id: string): Promise<boolean> {
    await this.before('exists', id)
    return this.#live(id) !== undefined
  }

  #live(id: string): { text: string } | undefined {
    const entry = this.texts.get(id)
    return entry !== undefined && this.clock.now() < entry.endsAt ? entry : undefined
  }
}

runContract(
  'a store of four methods',
  () => {
    const clock = new ManualClock()
    const store = new FourMethodStore(clock)
    return { open: () => store, advance: (ms) => clock.advance(ms), close: () => store.close() }
  },
  { atomic: false },
)

const destroyed: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }

function record(id: string, version: string = 'v1'): SessionData {
  return new SessionData({ id, version, createdAt: 1000 })
}

describe('SessionStore', () => {
  test('cannot be instantiated', () => {
    // @ts-expect-error at compile time
    expect(() => new SessionStore()).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule: 'store-abstract' }),
    )
  })

  test('lacks none of its four methods unnoticed', () => {
    // @ts-expect-error three of four
    class Incomplete extends SessionStore {
      get = (): Promise<null> => Promise.resolve(null)
      set = (): Promise<void> => Promise.resolve()
      delete = (): Promise<boolean> => Promise.resolve(false)
    }
    expect(new Incomplete()).toBeInstanceOf(SessionStore)
  })

  test('promises nothing across processes, and says so', () => {
    expect(new FourMethodStore().atomic).toBe(false)
  })

  test('by default has nothing to clear and nothing to close', async () => {
    const store = new FourMethodStore()
    expect(await store.clearExpired()).toBe(0)
    expect(await store.close()).toBeUndefined()
  })

  test('closes when a block that disposes of it ends', async () => {
    let isClosed = false
    class Closing extends FourMethodStore {
      override async close(): Promise<void> {
        isClosed = true
      }
    }
    {
      await using store = new Closing()
      expect(await store.get('a')).toBeNull()
    }
    expect(isClosed).toBe(true)
  })
})

describe('the default operations', () => {
  test('a load that an end overtakes finds the record or the mark, never nothing', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    const gate = Promise.withResolvers<void>()
    let reads = 0
    store.before = (method) => (method === 'get' && reads++ === 0 ? gate.promise : nextTurn())
    const loading = store.load('a')
    expect(await store.end('a', destroyed)).toBe(true)
    gate.resolve()
    expect(await loading).toEqual(destroyed)
  })

  test('a load that comes in the middle of an end finds the mark', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    const ending = store.end('a', destroyed)
    await nextTurn()
    expect(await store.load('a')).toEqual(destroyed)
    expect(await ending).toBe(true)
  })

  test('a slow write that began before an end does not undo it', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    const gate = Promise.withResolvers<void>()
    store.before = (method) => (method === 'set' ? gate.promise : nextTurn())
    const writing = store.replace('a', record('a', 'v2'), 'v1', 60)
    const touching = store.touch('a', 60)
    const ending = store.end('a', destroyed)
    const writingLate = store.replace('a', record('a', 'v3'), 'v2', 60)
    await nextTurn()
    gate.resolve()
    expect(await Promise.all([writing, touching, ending, writingLate])).toEqual([true, true, true, false])
    expect(await store.load('a')).toEqual(destroyed)
    expect(store.texts.size).toBe(0)
  })

  test('one id waits for no other', async () => {
    const store = new FourMethodStore()
    store.before = (_, id) => (id === 'slow' ? new Promise(() => {}) : nextTurn())
    void store.create('slow', record('slow'), 60)
    expect(await store.create('a', record('a'), 60)).toBe(true)
    expect(await store.end('a', destroyed)).toBe(true)
  })

  test('an operation that fails holds up none after it, and rejects with its own error', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    const boom = new Error('boom')
    store.before = (method) => (method === 'set' ? Promise.reject(boom) : nextTurn())
    const writing = store.replace('a', record('a', 'v2'), 'v1', 60)
    const ending = store.end('a', destroyed)
    await expect(writing).rejects.toBe(boom)
    expect(await ending).toBe(true)
  })

  test('an end that fails leaves no mark, and can be tried again', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    store.before = (method) => (method === 'delete' ? Promise.reject(new Error('boom')) : nextTurn())
    await expect(store.end('a', destroyed)).rejects.toThrow('boom')
    expect(isMark(await store.load('a'))).toBe(false)
    store.before = () => nextTurn()
    expect(await store.end('a', destroyed)).toBe(true)
    expect(await store.load('a')).toEqual(destroyed)
  })

  test('an end that comes too late to delete anything leaves no mark', async () => {
    const store = new FourMethodStore()
    await store.create('a', record('a'), 60)
    store.before = async (method) => void (method === 'delete' && store.texts.clear())
    expect(await store.end('a', destroyed)).toBe(false)
    expect(await store.load('a')).toBeNull()
  })

  test('a touch with no time to give leaves alone what it does not know the deadline of', async () => {
    const store = new FourMethodStore()
    await store.set('a', record('a'), 60)
    expect(await store.touch('a', 0)).toBe(true)
    expect(await store.exists('a')).toBe(true)
  })

  test('forgets old marks and keeps young ones, however many there are', async () => {
    const clock = new ManualClock()
    const store = new FourMethodStore(clock)
    store.before = () => Promise.resolve()
    const endAll = async (prefix: string): Promise<void> => {
      for (let i = 0; i < 700; i++) {
        await store.create(`${prefix}${i}`, record(prefix), 60)
        await store.end(`${prefix}${i}`, destroyed)
      }
    }
    await endAll('old')
    await clock.advance(20_000)
    await endAll('young')
    await clock.advance(10_000)
    await endAll('new')
    for (let i = 0; i < 700; i++) {
      expect(await store.load(`old${i}`)).toBeNull()
      expect(await store.load(`young${i}`)).toEqual(destroyed)
      expect(await store.load(`new${i}`)).toEqual(destroyed)
    }
  })

  test('two stores share nothing', async () => {
    const [one, other] = [new FourMethodStore(), new FourMethodStore()]
    await one.create('a', record('a'), 60)
    await one.end('a', destroyed)
    expect(await other.load('a')).toBeNull()
    expect(await other.create('a', record('a'), 60)).toBe(true)
  })
})

describe('withTouchedAt', () => {
  test('changes the last activity and nothing else', () => {
    const before = new SessionData({
      id: 'a',
      data: '{"a":1}',
      version: 'v1',
      userId: 'u',
      createdAt: 1,
      updatedAt: 2,
      touchedAt: 3,
      expiresAt: 4,
      flash: ['a'],
    })
    const after = withTouchedAt(before, 5)
    expect(after.toJSON()).toEqual({ ...before.toJSON(), touchedAt: new Date(5).toISOString() })
  })
})

describe('deadlineOf', () => {
  test.each([
    [10, 10_000],
    [1.1, 1100],
    [0.001, 1],
    [0.0001, 1],
    [0, 0],
    [-5, 0],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER],
  ])('%s seconds from 0 on', (ttl, deadline) => {
    expect(deadlineOf(ttl, 0)).toBe(deadline)
  })
})
