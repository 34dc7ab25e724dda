import { setImmediate as nextTurn } from 'node:timers/promises'

import { describe, expect, test } from 'vitest'

import { published } from '../../test/support/published.ts'
import { SessionError } from '../errors.ts'
import { MemorySessionStore } from '../stores/memory.ts'
import { SessionData } from '../stores/session-data.ts'
import { SqliteSessionStore } from '../stores/sqlite.ts'
import { ManualClock } from '../testing/clock.ts'
import { FaultyStore } from '../testing/faulty-store.ts'
import { StoreCalls } from './store-calls.ts'

function setUp() {
  const clock = new ManualClock(0)
  const store = new FaultyStore(new MemorySessionStore({ clock }), { clock })
  const calls = new StoreCalls(store, clock)
  const load = async (until: number) => calls.load('id', until)
  return { clock, store, calls, load, events: published('holdfast:event') }
}

describe('a store that fails', () => {
  test('rejects with the operation and the cause, and is told of', async () => {
    const { store, load, events } = setUp()
    const cause = new Error('ECONNREFUSED')
    store.fail('load', cause)
    const failure = await load(1000).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'ERR_SESSION_STORE', operation: 'load', status: 503, cause })
    expect(events).toEqual([{ kind: 'store-failure', operation: 'load', error: failure }])
  })

  test('at the call itself, before there is a promise, rejects all the same', async () => {
    const { store, calls } = setUp()
    store.load = () => {
      throw new TypeError('not connected')
    }
    await expect(calls.load('id', 1000)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  })

  test('with a typed error of its own is passed on as it is', async () => {
    const { store, calls } = setUp()
    const error = new SessionError('ERR_SESSION_NO_DRIVER', 'npm install redis')
    store.fail('load', error)
    await expect(calls.load('id', 1000)).rejects.toBe(error)
  })

  test('because a record cannot be read is not at fault, and not told of', async () => {
    const { store, calls, events } = setUp()
    store.fail('load', new SessionError('ERR_SESSION_RECORD', 'broken'))
    await expect(calls.load('id', 1000)).rejects.toMatchObject({ code: 'ERR_SESSION_RECORD' })
    expect(events).toEqual([])
  })
})

describe('a store that has its answer at hand', () => {
  const record = new SessionData({ id: 'id', version: 'v1' })

  test('is not waited for, whatever the answer', async () => {
    const clock = new ManualClock(0)
    for (const store of [
      new MemorySessionStore({ clock }),
      new SqliteSessionStore({ path: ':memory:', clock }),
    ]) {
      const calls = new StoreCalls(store, clock)
      expect(calls.load('id', 1000)).toBe(null)
      expect(calls.create('id', record, 60, 1000)).toBe(true)
      expect(calls.replace('id', record, 'v0', 60, 1000)).toBe(false)
      expect(calls.touch('id', 60, 'v1', 1000)).toBe(true)
      expect(calls.load('id', 1000)).toMatchObject({ id: 'id', version: 'v1' })
      await store.close()
    }
  })

  test('is waited for where a subclass has more to do', async () => {
    class Remote extends MemorySessionStore {
      override async load(id: string) {
        await nextTurn()
        return super.load(id)
      }
    }
    const calls = new StoreCalls(new Remote(), new ManualClock(0))
    await calls.create('id', record, 60, 1000)
    const loaded = calls.load('id', 1000)
    expect(loaded).toBeInstanceOf(Promise)
    expect(await loaded).toMatchObject({ version: 'v1' })
  })

  test('is waited for where its promises are not of the language itself', async () => {
    const { store, calls } = setUp()
    // oxlint-disable-next-line unicorn/no-thenable -- as some drivers' query builders have it
    const thenable = { then: (resolve: (value: null) => void) => setImmediate(resolve, null) }
    store.load = () => thenable as unknown as Promise<null>
    const loaded = calls.load('id', 1000)
    expect(loaded).toBeInstanceOf(Promise)
    expect(await loaded).toBe(null)
  })
})

describe('a store that does not answer', () => {
  test('is given up on at the deadline', async () => {
    const { clock, store, load, events } = setUp()
    store.hang('load')
    const failure = load(1000).catch((error: unknown) => error)
    await clock.advance(1049)
    expect(await failure).toMatchObject({ code: 'ERR_SESSION_TIMEOUT', operation: 'load', status: 503 })
    expect(events).toMatchObject([{ kind: 'store-failure', operation: 'load' }])
  })

  test('is not asked at all once the deadline has passed', async () => {
    const { clock, store, calls } = setUp()
    await clock.advance(1000)
    await expect(calls.load('id', 1000)).rejects.toMatchObject({ code: 'ERR_SESSION_TIMEOUT' })
    expect(store.calls).toEqual([])
  })
})

describe('a store at which calls pile up', () => {
  /** Lets so many calls hang for so long. */
  async function pileUp(count: number, ms: number) {
    const server = setUp()
    server.store.hang('load')
    const outcomes: unknown[] = []
    const call = (): void =>
      void server.load(server.clock.now() + 1000).then(
        () => outcomes.push('answered'),
        ({ code }: SessionError) => outcomes.push(code),
      )
    for (let n = 0; n < count; n++) call()
    await server.clock.advance(ms)
    return { ...server, call, outcomes }
  }

  test('is asked no more, and the caller told so at once', async () => {
    const { store, call, outcomes } = await pileUp(1000, 1100)
    expect(outcomes.splice(0)).toEqual(Array(1000).fill('ERR_SESSION_TIMEOUT'))
    for (let n = 0; n < 100; n++) call()
    await nextTurn()
    expect(outcomes).toEqual(Array(99).fill('ERR_SESSION_STORE'))
    expect(store.calls).toHaveLength(1001)
  })

  test('is asked once a second, and as before when it has answered', async () => {
    const { clock, store, call, outcomes } = await pileUp(1000, 1100)
    outcomes.length = 0
    for (let second = 0; second < 10; second++) {
      for (let n = 0; n < 10; n++) call()
      await clock.advance(1000)
    }
    expect(store.calls).toHaveLength(1010)
    store.heal()
    await nextTurn()
    outcomes.length = 0
    for (let n = 0; n < 10; n++) call()
    await nextTurn()
    expect(outcomes).toEqual(Array(10).fill('answered'))
  })

  test('for a moment only, as at a burst, is asked all the same', async () => {
    const { store, call } = await pileUp(5000, 0)
    call()
    expect(store.calls).toHaveLength(5001)
  })

  test('but answers others, as a pool does that has lost one connection, is asked all the same', async () => {
    const { store, calls, clock } = await pileUp(1000, 1100)
    await calls.touch('id', 60, 'v', clock.now() + 1000)
    await calls.touch('id', 60, 'v', clock.now() + 1000)
    expect(store.calls.slice(1000)).toHaveLength(2)
  })
})

describe('a clock that has to be asked for its time', () => {
  test('is waited for, but not past the deadline', async () => {
    const { clock, store } = setUp()
    let known: PromiseWithResolvers<void> | null = Promise.withResolvers<void>()
    const asking = {
      now: () => clock.now(),
      sleep: (ms: number) => clock.sleep(ms),
      ready: () => known?.promise ?? null,
    }
    const calls = new StoreCalls(store, asking)
    const late = calls.ready(1000).catch((error: unknown) => error)
    await clock.advance(1049)
    expect(await late).toMatchObject({ code: 'ERR_SESSION_TIMEOUT', status: 503 })
    const inTime = calls.ready(2000)
    known.resolve()
    await expect(inTime).resolves.toBe(undefined)
    known = null
    await expect(calls.ready(0)).resolves.toBe(undefined)
  })
})
