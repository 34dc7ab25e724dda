import { setImmediate as nextTurn } from 'node:timers/promises'

import fc from 'fast-check'
import { beforeEach, expect, it, vi } from 'vitest'

import { ManualClock } from '../testing/clock.ts'
import type { NearCache, RedisNearCache } from './_redis-near-cache.ts'
import { nearCacheOf } from './_redis-near-cache.ts'
import { SessionData } from './session-data.ts'
import type { Mark } from './store.ts'

const id = 'an-id'
const record = (version: string, data = '{}', touchedAt = 1): SessionData =>
  new SessionData({ id, version, data, touchedAt })
const mark: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }

let clock: ManualClock
let answer: () => Promise<unknown>
const tracked = async () => ({ flags: ['on'] })

async function open(options: RedisNearCache = {}): Promise<NearCache> {
  const near = nearCacheOf(options, 'key:', () => answer(), clock)
  near.get(id)
  await nextTurn()
  return near
}

const keep = (near: NearCache, found: SessionData | Mark | null, left = 60_000, under = id) =>
  near.read(under, async () => [found, left])

beforeEach(() => {
  clock = new ManualClock()
  answer = tracked
})

it('gives each reader a copy', async () => {
  const near = await open()
  await keep(near, record('v1', '{"n":1}'))
  near.get(id)!.data['n'] = 2
  expect(near.get(id)).toMatchObject({ version: 'v1', data: { n: 1 } })
})

it('keeps no mark, nothing missing, and no record that is pending', async () => {
  const near = await open()
  for (const found of [mark, null, record('v1', '{}', -1)]) {
    await keep(near, found)
    expect(near.get(id)).toBeNull()
  }
})

it('keeps a record no longer than Redis does, from when it was asked', async () => {
  const near = await open({ maxStale: 30 })
  await near.read(id, async () => {
    await clock.advance(100)
    return [record('v1'), 500]
  })
  await clock.advance(399)
  expect(near.get(id)).not.toBeNull()
  await clock.advance(1)
  expect(near.get(id)).toBeNull()
})

it('serves nothing once Redis has not been heard for maxStale, and all of it again once it is', async () => {
  const near = await open({ maxStale: 2 })
  await keep(near, record('v1'))
  answer = () => new Promise(() => {})
  await clock.advance(2000)
  expect(near.get(id)).not.toBeNull()
  await clock.advance(1)
  expect(near.get(id)).toBeNull()
})

it('asks again after half of that time, so that nobody waits', async () => {
  const near = await open({ maxStale: 2 })
  await keep(near, record('v1'))
  for (let turn = 0; turn < 5; turn++) {
    await clock.advance(1500)
    expect(near.get(id)).not.toBeNull()
    await nextTurn()
  }
})

it('counts from when it asked, not from when the answer came', async () => {
  answer = async () => {
    await clock.sleep(900)
    return tracked()
  }
  const near = nearCacheOf({ maxStale: 1 }, 'key:', () => answer(), clock)
  near.get(id)
  await keep(near, record('v1'))
  await clock.advance(900)
  expect(near.get(id)).not.toBeNull()
  await clock.advance(101)
  expect(near.get(id)).toBeNull()
})

it.each([
  ['is off', { flags: ['off'] }],
  ['leaves some reads out', { flags: ['on', 'optin'] }],
  ['is of RESP2', ['flags', ['on']]],
])('serves nothing where tracking %s', async (_what, reply) => {
  vi.spyOn(console, 'warn').mockImplementationOnce(() => {})
  answer = async () => reply
  const near = await open()
  await keep(near, record('v1'))
  expect(near.get(id)).toBeNull()
})

it.each([
  'NOPERM this user has no permissions',
  "ERR Unknown subcommand or wrong number of arguments for 'TRACKINGINFO'",
])('warns, once, where Redis answers %s', async (message) => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  answer = () => Promise.reject(new Error(message))
  const near = await open()
  near.get(id)
  await nextTurn()
  expect(warned).toHaveBeenCalledOnce()
  warned.mockRestore()
})

it('serves nothing under an id while a write of it is under way, nor keeps what is read meanwhile', async () => {
  const near = await open()
  await keep(near, record('v1'))
  let written!: (isWritten: boolean) => void
  const write = near.write(id, () => new Promise((resolve) => (written = resolve)))
  const other = near.write(id, async () => false)
  expect(near.get(id)).toBeNull()
  await other
  await keep(near, record('v1'))
  expect(near.get(id)).toBeNull()
  written(true)
  await write
  await keep(near, record('v2'))
  expect(near.get(id)).toMatchObject({ version: 'v2' })
})

it('lets a write fail, and is none the worse for it', async () => {
  const near = await open()
  await keep(near, record('v1'))
  await expect(near.write(id, () => Promise.reject(new Error('lost')))).rejects.toThrow('lost')
  expect(near.get(id)).toBeNull()
  await keep(near, record('v2'))
  expect(near.get(id)).toMatchObject({ version: 'v2' })
})

it('keeps nothing of a read that was under way when everything was invalidated', async () => {
  const near = await open()
  await near.read(id, async () => {
    near.invalidated(null)
    return [record('v1'), 60_000]
  })
  near.get(id)
  await nextTurn()
  expect(near.get(id)).toBeNull()
})

it('minds only keys of its own', async () => {
  const near = await open()
  await keep(near, record('v1'))
  near.invalidated(`else:${id}`)
  expect(near.get(id)).not.toBeNull()
  near.invalidated(`key:${id}`)
  expect(near.get(id)).toBeNull()
})

it('holds so many sessions, and the least recently used ones leave', async () => {
  const near = await open({ maxSessions: 2 })
  await keep(near, record('v1'), 60_000, 'a')
  await keep(near, record('v1'), 60_000, 'b')
  near.get('a')
  await keep(near, record('v1'), 60_000, 'c')
  expect(['a', 'b', 'c'].map((id) => near.get(id) !== null)).toEqual([true, false, true])
})

it('holds so many bytes, however often a record is kept or dropped', async () => {
  const near = await open({ maxTotalBytes: 100 })
  const data = JSON.stringify({ text: 'x'.repeat(29) })
  for (let turn = 0; turn < 5; turn++) {
    await keep(near, record('v1', data), 60_000, 'a')
    near.drop('a')
    for (const id of ['a', 'a', 'b']) await keep(near, record('v1', data), 60_000, id)
    expect(['a', 'b'].map((id) => near.get(id) !== null)).toEqual([true, true])
    await keep(near, record('v1', data), 60_000, 'c')
    expect(['a', 'b', 'c'].map((id) => near.get(id) !== null)).toEqual([false, true, true])
    near.invalidated(null)
    near.get(id)
    await nextTurn()
  }
})

it('never serves what an invalidation that has come was about, whatever was being read then', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('read', 'run', 'change', 'hear', 'hear all')),
      async (steps) => {
        const near = await open()
        let value = 0
        /** The newest change that an invalidation has come for. */
        let heard = 0
        let isTracked = false
        const sent: (() => void)[] = []
        const stream: (() => void)[] = []
        const does: Record<(typeof steps)[number], () => void> = {
          read: () => {
            void near.read(id, () => {
              return new Promise((resolve) => {
                sent.push(() => {
                  isTracked = true
                  const found = record(String(value))
                  stream.push(() => resolve([found, 60_000]))
                })
              })
            })
          },
          run: () => sent.shift()?.(),
          change: () => {
            const present = ++value
            // Redis tells once of each read.
            if (isTracked)
              stream.push(() => {
                heard = present
                near.invalidated(`key:${id}`)
              })
            isTracked = false
          },
          hear: () => stream.shift()?.(),
          // Of what comes in one piece, invalidations are heard before whoever waits for a reply goes on.
          'hear all': () => stream.splice(0).forEach((message) => message()),
        }
        for (const step of [...steps, 'hear all', 'hear all'] as const) {
          does[step]()
          await nextTurn()
          const found = near.get(id)
          if (found !== null) expect(Number(found.version)).toBeGreaterThanOrEqual(heard)
          if (found !== null && stream.length === 0) expect(Number(found.version)).toBe(value)
        }
      },
    ),
    { numRuns: 500 },
  )
})
