import { setImmediate as nextTurn } from 'node:timers/promises'

import { beforeEach, describe, expect, test } from 'vitest'

import { runContract } from '../../test/stores/run-contract.ts'
import { MemorySessionStore } from '../stores/memory.ts'
import { hasNotices } from '../stores/notices.ts'
import { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import { ManualClock } from './clock.ts'
import type { StoreOperation } from './faulty-store.ts'
import { FaultyStore } from './faulty-store.ts'

runContract(
  'a FaultyStore without faults',
  () => {
    const clock = new ManualClock()
    const store = new FaultyStore(new MemorySessionStore({ clock }), { clock })
    return { open: () => store, advance: (ms) => clock.advance(ms), close: () => store.close() }
  },
  { atomic: true },
)

const mark: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }

let clock: ManualClock
let inner: MemorySessionStore
let store: FaultyStore

beforeEach(async () => {
  clock = new ManualClock()
  inner = new MemorySessionStore({ clock })
  store = new FaultyStore(inner, { clock })
  await inner.create('a', record('v1'), 60)
})

function record(version: string): SessionData {
  return new SessionData({ id: 'a', version, createdAt: clock.now() })
}

/** Every operation, called on `a`. */
const ask: Record<StoreOperation, () => Promise<unknown>> = {
  get: () => store.get('a'),
  set: () => store.set('a', record('v2')),
  delete: () => store.delete('a'),
  exists: () => store.exists('a'),
  load: () => store.load('a'),
  create: () => store.create('a', record('v2'), 60),
  replace: () => store.replace('a', record('v2'), 'v1', 60),
  end: () => store.end('a', mark),
  touch: () => store.touch('a', 60),
  noteUser: () => store.noteUser!('ada', 'a', 60),
  idsOfUser: () => store.idsOfUser!('ada'),
  forgetUser: () => store.forgetUser!('ada', ['a']),
  peek: () => store.peek(['a']),
  watch: () => store.watch!('a', () => {}),
  clearExpired: () => store.clearExpired(),
  close: () => store.close(),
}
const operations = Object.keys(ask) as StoreOperation[]

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let isSettled = false
  const settle = (): void => void (isSettled = true)
  promise.then(settle, settle)
  await nextTurn()
  return !isSettled
}

test.each(operations)('%s fails when made to, and is right again once healed', async (operation) => {
  const error = new Error('boom')
  store.fail(operation, error)
  await expect(ask[operation]()).rejects.toBe(error)
  await expect(ask[operation]()).rejects.toBe(error)
  expect((await inner.get('a'))?.version).toBe('v1')
  store.heal()
  await ask[operation]()
})

test('a fault touches no other operation', async () => {
  store.fail('replace')
  expect((await store.get('a'))?.version).toBe('v1')
  await expect(store.replace('a', record('v2'), 'v1', 60)).rejects.toThrow('replace')
})

test('a reply that is lost was a write that was applied', async () => {
  store.loseReply('replace')
  await expect(store.replace('a', record('v2'), 'v1', 60)).rejects.toThrow('reply')
  expect((await store.get('a'))?.version).toBe('v2')
})

test('what hangs is neither done nor answered until healed, and then it is', async () => {
  store.hang('replace')
  const writing = store.replace('a', record('v2'), 'v1', 60)
  store.fail('replace')
  expect(await isPending(writing)).toBe(true)
  expect((await inner.get('a'))?.version).toBe('v1')
  store.heal()
  expect(await writing).toBe(true)
  expect((await inner.get('a'))?.version).toBe('v2')
  store.hang('get')
  expect(await isPending(store.get('a'))).toBe(true)
})

test('what lags is done when its time has come', async () => {
  store.lag('end', 500)
  const ending = store.end('a', mark)
  await clock.advance(499)
  expect((await inner.get('a'))?.version).toBe('v1')
  await clock.advance(1)
  expect(await ending).toBe(true)
})

describe('what a test can see and steer', () => {
  test('calls are noted in order, with their ids', async () => {
    store.fail('touch')
    await store.load('a')
    await store.touch('b', 60).catch(() => {})
    await store.clearExpired()
    expect(store.calls).toEqual([
      ['load', 'a'],
      ['touch', 'b'],
      ['clearExpired', null],
    ])
  })

  test('before holds an operation up, so that another comes first', async () => {
    const gate = Promise.withResolvers<void>()
    const seen: unknown[] = []
    store.before = (operation, id) => {
      seen.push([operation, id])
      return operation === 'replace' ? gate.promise : undefined
    }
    const writing = store.replace('a', record('v2'), 'v1', 60)
    expect(await store.end('a', mark)).toBe(true)
    gate.resolve()
    expect(await writing).toBe(false)
    expect(seen).toEqual([
      ['replace', 'a'],
      ['end', 'a'],
    ])
  })

  test('it is as atomic as the store behind it', () => {
    expect(store.atomic).toBe(true)
  })
})

test('notices are passed on, until they are made to be lost', async () => {
  const told: (string | null)[] = []
  const unwatch = await store.watch!('a', (version) => told.push(version))
  await inner.replace('a', record('v2'), 'v1', 60)
  store.losesNotices = true
  await inner.replace('a', record('v3'), 'v2', 60)
  store.losesNotices = false
  await inner.end('a', mark)
  expect(told).toEqual(['v2', null])
  unwatch()
})

test('a store in front of one that tells no notices tells none', () => {
  class Plain extends MemorySessionStore {
    override watch = undefined as never
  }
  expect(hasNotices(new FaultyStore(new Plain()))).toBe(false)
})
