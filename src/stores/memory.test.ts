import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { runContract } from '../../test/stores/run-contract.ts'
import { SessionError } from '../errors.ts'
import type { SessionEvent } from '../events.ts'
import { ManualClock } from '../testing/clock.ts'
import type { MemorySessionStoreOptions } from './memory.ts'
import { MemorySessionStore } from './memory.ts'
import { SessionData } from './session-data.ts'
import type { Mark } from './store.ts'

runContract(
  'MemorySessionStore',
  () => {
    const clock = new ManualClock()
    const store = new MemorySessionStore({ clock })
    return { open: () => store, advance: (ms) => clock.advance(ms), close: () => store.close() }
  },
  { atomic: true },
)

const destroyed: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }

let clock: ManualClock
let events: SessionEvent[]
const note = (message: unknown): void => void events.push(message as SessionEvent)
const opened: MemorySessionStore[] = []

beforeEach(() => {
  clock = new ManualClock()
  events = []
  subscribe('holdfast:event', note)
  vi.spyOn(console, 'warn').mockImplementation(() => {})
})

afterEach(async () => {
  unsubscribe('holdfast:event', note)
  vi.restoreAllMocks()
  for (const store of opened.splice(0)) await store.close()
})

function open(options: MemorySessionStoreOptions = {}): MemorySessionStore {
  const store = new MemorySessionStore({ clock, ...options })
  opened.push(store)
  return store
}

function record(id: string, data: string = '{}', version: string = 'v1'): SessionData {
  return new SessionData({ id, data, version, createdAt: clock.now() })
}

describe('time', () => {
  test('a session lives until the last millisecond before its expiry, and not at it', async () => {
    const store = open()
    await store.create('a', record('a'), 10)
    await clock.advance(9999)
    expect(await store.exists('a')).toBe(true)
    expect(await store.touch('a', 0)).toBe(true)
    await clock.advance(1)
    expect(await store.touch('a', 60)).toBe(false)
    expect(await store.exists('a')).toBe(false)
  })

  test('touch notes the moment by the injected clock', async () => {
    const store = open()
    await store.create('a', record('a'), 10)
    await clock.advance(1234)
    await store.touch('a', 10)
    expect((await store.get('a'))?.touchedAt).toBe(clock.now())
  })

  test('defaultTtl rules where set is not told', async () => {
    const store = open({ defaultTtl: 2.5 })
    await store.set('a', record('a'))
    await clock.advance(2499)
    expect(await store.exists('a')).toBe(true)
    await clock.advance(1)
    expect(await store.exists('a')).toBe(false)
  })

  test('a clock set back brings no mark to an early end', async () => {
    const store = open()
    await store.create('a', record('a'), 60)
    await store.end('a', destroyed)
    vi.spyOn(clock, 'now').mockReturnValue(clock.now() - 3_600_000)
    expect(await store.load('a')).toEqual(destroyed)
  })
})

describe('what it holds', () => {
  test('size counts sessions and no marks', async () => {
    const store = open()
    for (const id of ['a', 'b', 'c']) await store.create(id, record(id), 60)
    expect(store.size).toBe(3)
    await store.end('a', destroyed)
    expect(store.size).toBe(2)
    await store.delete('b')
    expect(store.size).toBe(1)
    await store.replace('c', record('c', '{}', 'v2'), 'v1', 60)
    expect(store.size).toBe(1)
  })

  test('an expired session leaves when it is asked for', async () => {
    const store = open()
    for (const ask of ['get', 'load', 'exists', 'touch', 'delete'] as const) {
      await store.create(ask, record(ask), 10)
      await clock.advance(10_000)
      expect(store.size).toBe(1)
      await store[ask](ask, 10)
      expect(store.size, ask).toBe(0)
    }
  })

  test('what is already expired is never held', async () => {
    const store = open()
    await store.set('a', record('a'), 0)
    await store.create('b', record('b'), -1)
    expect(store.size).toBe(0)
  })

  test('clear removes sessions and marks', async () => {
    const store = open()
    for (const id of ['a', 'b']) await store.create(id, record(id), 60)
    await store.end('a', destroyed)
    store.clear()
    expect(store.size).toBe(0)
    expect(await store.load('a')).toBeNull()
    expect(await store.load('b')).toBeNull()
  })

  test('set leaves nothing of the mark it writes over', async () => {
    const store = open()
    await store.create('a', record('a'), 60)
    await store.end('a', destroyed)
    await store.set('a', record('a'), 60)
    await store.delete('a')
    expect(await store.load('a')).toBeNull()
  })

  test.each(['an end', 'a cleanup'])('%s lets go of the memory of old marks', async (occasion) => {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const store = open()
    for (const id of ['a', 'b']) await store.create(id, record(id), 600)
    await store.end('a', destroyed)
    const mark = new WeakRef((await store.load('a'))!)
    await clock.advance(30_000)
    await (occasion === 'an end' ? store.end('b', destroyed) : store.clearExpired())
    await nextTurn()
    collectGarbage()
    expect(mark.deref()).toBeUndefined()
  })

  test('a read parses nothing', async () => {
    const store = open()
    await store.create('a', record('a', 'no JSON at all'), 60)
    const found = await store.get('a')
    expect(found?.json).toBe('no JSON at all')
    expect(() => found?.data).toThrow(SessionError)
  })

  test('two stores share nothing', async () => {
    const [one, other] = [open(), open()]
    await one.create('a', record('a'), 60)
    await one.create('b', record('b'), 60)
    await one.end('b', destroyed)
    expect(await other.load('a')).toBeNull()
    expect(await other.load('b')).toBeNull()
    other.clear()
    expect(await one.exists('a')).toBe(true)
    expect(await one.load('b')).toEqual(destroyed)
  })
})

test('a record that JSON cannot hold is refused, and leaves things as they were', async () => {
  const store = open({ maxTotalBytes: 30 })
  const bad = new SessionData({ id: 'a', data: { n: 1n } })
  await expect(store.create('a', bad, 60)).rejects.toThrow(TypeError)
  expect([store.size, await store.get('a'), await store.exists('a')]).toEqual([0, null, false])
  const good = new SessionData({ id: 'a', version: 'v1', data: '{"n":"0123456789"}' })
  await store.create('a', good, 60)
  await expect(store.replace('a', bad, 'v1', 60)).rejects.toThrow(TypeError)
  expect(await store.get('a')).toMatchObject({ version: 'v1', json: good.json })
  // Its bytes still count: a second one of that size is too much.
  await store.create('b', new SessionData({ id: 'b', data: good.json }), 60)
  expect([await store.exists('a'), await store.exists('b')]).toEqual([false, true])
})

describe('its limits', () => {
  const present = async (store: MemorySessionStore, ids: string): Promise<string> => {
    const found = []
    for (const id of ids) if (await store.exists(id)) found.push(id)
    return found.join('')
  }

  test('beyond maxSessions the oldest leaves', async () => {
    const store = open({ maxSessions: 3 })
    for (const id of 'abcde') await store.create(id, record(id), 60)
    expect(store.size).toBe(3)
    expect(await present(store, 'abcde')).toBe('cde')
  })

  test.each(['get', 'load', 'touch', 'replace', 'set'] as const)('%s counts as use', async (use) => {
    const store = open({ maxSessions: 3 })
    for (const id of 'abc') await store.create(id, record(id), 60)
    if (use === 'replace') await store.replace('a', record('a'), 'v1', 60)
    else if (use === 'set') await store.set('a', record('a'), 60)
    else await store[use]('a', 60)
    await store.create('d', record('d'), 60)
    expect(await present(store, 'abcd')).toBe('acd')
    await store.create('e', record('e'), 60)
    await store.create('f', record('f'), 60)
    expect(store.size).toBe(3)
  })

  test('a cleanup is no use of anything', async () => {
    const store = open({ maxSessions: 3 })
    for (const id of 'abc') await store.create(id, record(id), 60)
    await store.get('a')
    await store.clearExpired()
    await store.create('d', record('d'), 60)
    expect(await present(store, 'abcd')).toBe('acd')
  })

  test('marks take nobody’s place', async () => {
    const store = open({ maxSessions: 3 })
    for (const id of 'abc') await store.create(id, record(id), 60)
    for (const id of 'xyz') {
      await store.end('c', destroyed)
      await clock.advance(30_000)
      await store.create('c', record('c', '{}', id), 60)
    }
    await store.end('c', destroyed)
    await store.set('a', record('a'), 60)
    await store.set('b', record('b'), 60)
    await store.create('d', record('d'), 60)
    expect(await present(store, 'abd')).toBe('abd')
  })

  test('beyond maxTotalBytes, counted as UTF-8, the oldest leave', async () => {
    const store = open({ maxTotalBytes: 100 })
    const text = JSON.stringify({ k: 'ü'.repeat(11) })
    assert.equal(Buffer.byteLength(text), 30)
    for (const id of 'abc') await store.create(id, record(id, text), 60)
    expect(await present(store, 'abc')).toBe('abc')
    await store.create('d', record('d', text), 60)
    expect(await present(store, 'abcd')).toBe('bcd')
    await store.replace('c', record('c', JSON.stringify({ k: 'x'.repeat(72) })), 'v1', 60)
    expect(await present(store, 'abcd')).toBe('c')
  })

  test('bytes that were let go count no longer', async () => {
    const store = open({ maxTotalBytes: 100 })
    const text = JSON.stringify({ k: 'x'.repeat(72) })
    for (const leave of [
      () => store.delete('a'),
      () => store.end('a', destroyed),
      () => store.set('a', record('a'), 0),
      () => clock.advance(60_000).then(() => store.get('a')),
      () => clock.advance(60_000).then(() => store.clearExpired()),
      () => store.clear(),
      () => store.set('a', record('a', '{}'), 60),
      () => store.set('a', record('a', text), 60).then(() => store.replace('a', record('a'), 'v1', 60)),
    ]) {
      await store.set('a', record('a', text), 60)
      await leave()
      await store.set('b', record('b'), 600)
      await store.set('c', record('c', JSON.stringify({ k: 'x'.repeat(85) })), 600)
      expect(await present(store, 'bc'), String(leave)).toBe('bc')
      store.clear()
    }
    expect(console.warn).not.toHaveBeenCalled()
  })

  test('the session just written stays, however large', async () => {
    const store = open({ maxTotalBytes: 10 })
    await store.create('a', record('a', JSON.stringify({ k: 'x'.repeat(50) })), 60)
    expect(await store.exists('a')).toBe(true)
    await store.create('b', record('b', JSON.stringify({ k: 'x'.repeat(50) })), 60)
    expect(await present(store, 'ab')).toBe('b')
  })

  test('it says once that it is full, and by which limit', async () => {
    const store = open({ maxSessions: 1 })
    for (const id of 'abc') await store.create(id, record(id), 60)
    expect(events).toEqual([{ kind: 'evicting', limit: 'maxSessions' }])
    expect(console.warn).toHaveBeenCalledTimes(1)
    expect(vi.mocked(console.warn).mock.calls[0]?.[0]).toContain('maxSessions')
    const other = open({ maxTotalBytes: 2 })
    for (const id of 'abc') await other.create(id, record(id), 60)
    expect(events[1]).toEqual({ kind: 'evicting', limit: 'maxTotalBytes' })
    expect(console.warn).toHaveBeenCalledTimes(2)
  })

  test('who is let go leaves no mark, and a late write does not bring it back', async () => {
    const store = open({ maxSessions: 1 })
    for (const id of 'ab') await store.create(id, record(id), 60)
    expect(await store.load('a')).toBeNull()
    expect(await store.replace('a', record('a', '{}', 'v2'), 'v1', 60)).toBe(false)
  })
})

describe('cleanup', () => {
  test('clearExpired counts the sessions it removes, and no marks', async () => {
    const store = open()
    for (const id of 'abcde') await store.create(id, record(id), id < 'd' ? 10 : 100)
    await store.create('ended', record('ended'), 100)
    await store.end('ended', destroyed)
    await clock.advance(40_000)
    expect(store.size).toBe(5)
    expect(await store.clearExpired()).toBe(3)
    expect(store.size).toBe(2)
    expect(await store.clearExpired()).toBe(0)
  })

  test('clearExpired lets the event loop turn after every few thousand sessions at most', async () => {
    const store = open({ maxSessions: 1_000_000 })
    for (let i = 0; i < 40_000; i++)
      await store.create(new SessionData().id, record('a'), i % 2 === 0 ? 10 : 100)
    await clock.advance(10_000)
    let isDone = false
    const removal = store.clearExpired().finally(() => (isDone = true))
    let before = 40_000
    let turns = 0
    for (; !isDone; turns++) {
      expect(before - store.size).toBeLessThan(2000)
      before = store.size
      await nextTurn()
    }
    expect(turns).toBeGreaterThan(15)
    expect(await removal).toBe(20_000)
    expect(store.size).toBe(20_000)
  })

  test('clearExpired comes to its end while sessions come, go and are used', async () => {
    const store = open()
    const ids = Array.from({ length: 10_000 }, () => new SessionData().id)
    for (const [i, id] of ids.entries()) await store.create(id, record(id), i % 2 === 0 ? 10 : 100)
    await clock.advance(10_000)
    let isDone = false
    const removal = store.clearExpired().finally(() => (isDone = true))
    for (let i = 0; !isDone; i++) {
      for (let j = 1; j < 200; j += 2) await store.get(ids[(i * 200 + j) % ids.length]!)
      await store.create(`new-${i}`, record('a'), 100)
      await nextTurn()
    }
    expect(await removal).toBe(5000)
    for (let i = 1; i < ids.length; i += 2) expect(await store.exists(ids[i]!)).toBe(true)
  })

  test('begins by itself with the first write, and comes again', async () => {
    const store = open({ cleanupInterval: 60 })
    await clock.advance(600_000)
    expect(events).toEqual([])
    await store.create('a', record('a'), 10)
    await clock.advance(59_999)
    expect(store.size).toBe(1)
    await clock.advance(1)
    expect(store.size).toBe(0)
    await store.create('b', record('b'), 10)
    await clock.advance(120_000)
    expect(events).toEqual([
      { kind: 'sweep', removed: 1 },
      { kind: 'sweep', removed: 1 },
      { kind: 'sweep', removed: 0 },
    ])
  })

  test('stops when told to, and starts again only when told to', async () => {
    const store = open({ cleanupInterval: 60 })
    await store.create('a', record('a'), 10)
    store.stopCleanup()
    await store.create('b', record('b'), 10)
    await clock.advance(600_000)
    expect(events).toEqual([])
    expect(store.size).toBe(2)
    store.startCleanup()
    store.startCleanup()
    await clock.advance(60_000)
    expect(events).toEqual([{ kind: 'sweep', removed: 2 }])
  })

  test('does not begin where it was told not to before', async () => {
    const store = open({ cleanupInterval: 60 })
    store.stopCleanup()
    await store.create('a', record('a'), 10)
    await clock.advance(600_000)
    expect(events).toEqual([])
  })

  test('stops with close', async () => {
    const store = open({ cleanupInterval: 60 })
    await store.create('a', record('a'), 10)
    await store.close()
    await store.create('b', record('b'), 10)
    await clock.advance(600_000)
    expect(events).toEqual([])
  })

  test('survives an error, and tells of it', async () => {
    class Failing extends MemorySessionStore {
      failures = 1
      override clearExpired(): Promise<number> {
        return this.failures-- > 0 ? Promise.reject(new Error('boom')) : super.clearExpired()
      }
    }
    const store = new Failing({ clock, cleanupInterval: 60 })
    opened.push(store)
    await store.create('a', record('a'), 10)
    await clock.advance(120_000)
    expect(events).toEqual([
      { kind: 'sweep', removed: 0, error: new Error('boom') },
      { kind: 'sweep', removed: 1 },
    ])
  })

  test('keeps no process alive', async () => {
    const script = `
      import { MemorySessionStore } from './memory.ts'
      import { SessionData } from './session-data.ts'
      const store = new MemorySessionStore({ cleanupInterval: 3600 })
      await store.set('a', new SessionData({ id: 'a' }))
      store.startCleanup()
      console.log('written')`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', script],
      { cwd: import.meta.dirname, timeout: 15_000 },
    )
    expect(stdout).toBe('written\n')
  })
})

test.each<[rule: string, options: object]>([
  ['memory-max-sessions', { maxSessions: 0 }],
  ['memory-max-sessions', { maxSessions: 1.5 }],
  ['memory-max-sessions', { maxSessions: Number.POSITIVE_INFINITY }],
  ['memory-max-sessions', { maxSessions: '10' }],
  ['memory-max-total-bytes', { maxTotalBytes: -1 }],
  ['memory-max-total-bytes', { maxTotalBytes: Number.NaN }],
  ['memory-default-ttl', { defaultTtl: 0 }],
  ['memory-default-ttl', { defaultTtl: -5 }],
  ['memory-default-ttl', { defaultTtl: '3600' }],
  ['memory-cleanup-interval', { cleanupInterval: 0 }],
  ['memory-cleanup-interval', { cleanupInterval: 2_147_484 }],
  ['memory-cleanup-interval', { cleanupInterval: Number.NaN }],
  ['memory-clock', { clock: {} }],
  ['memory-clock', { clock: null }],
  ['memory-unknown-option', { maxSession: 10 }],
  ['memory-unknown-option', { default_ttl: 10 }],
  ['memory-options', null as unknown as object],
  ['memory-options', 'memory' as unknown as object],
])('the rule %s refuses %j', (rule, options) => {
  expect(() => new MemorySessionStore(options)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }),
  )
})

test('options that are undefined are as good as absent', async () => {
  const store = new MemorySessionStore({ maxSessions: undefined, clock: undefined } as object)
  await store.set('a', record('a'))
  expect(store.size).toBe(1)
  await store.close()
})
