/** Part `memory`, in a process of its own for each store: a million small sessions in memory. */
import { randomBytes } from 'node:crypto'

import type { Spread } from '../report/stats.ts'
import { spreadOf } from '../report/stats.ts'
import { answerOrders } from './child.ts'
import type { MemoryOptions, MemoryResult, MemoryStoreName } from './memory-stores.ts'

/** A store, as far as it is asked here; `data` is the session's object, 200 bytes as JSON. */
interface Probe {
  get(id: string): Promise<unknown>
  set(id: string, data: object, ttl: number): Promise<unknown>
  sweep: (() => Promise<unknown>) | null
  size(): number
}

// Time is ours, so that half of the sessions can expire at once. Stores are imported after this.
let ahead = 0
const realNow = Date.now
Date.now = () => realNow() + ahead

const LONG = 86_400
const SHORT = 3600

answerOrders(async ({ store, sessions }: MemoryOptions): Promise<MemoryResult> => {
  const probe = await probeOf(store, sessions)
  const ids = Array.from({ length: sessions }, () => randomBytes(32).toString('base64url'))
  collect()
  const before = bytesInUse()
  for (let i = 0; i < sessions; i++) await probe.set(ids[i]!, data(i), i % 2 === 0 ? SHORT : LONG)
  collect()
  // The ids are counted as the store's own: it has a reference to each, and so would it be in a server.
  const heap = (bytesInUse() - before) / sessions + idBytes()
  const get = await costOf((i) => probe.get(ids[i]!), sessions)
  const set = await costOf((i) => probe.set(ids[i]!, data(i), i % 2 === 0 ? SHORT : LONG), sessions)
  ahead = (SHORT + 1) * 1000
  const sweep = probe.sweep === null ? null : await sweepOf(probe, probe.sweep)
  return { store, heap: Math.round(heap), get, set, sweep, eviction: await evictionOf(store) }
})

function collect(): void {
  ;(globalThis as unknown as { gc(): void }).gc()
}

/** On V8's heap, and beside it, where typed arrays are. */
function bytesInUse(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function data(i: number): object {
  return { user: `user-${i}`, csrf: String(i).padStart(32, '0'), note: `${i}`.padEnd(117, '.') }
}

/** What a string of 43 characters takes on V8's heap: a header of 16 bytes, and its characters, in steps of 8. */
function idBytes(): number {
  return 64
}

async function costOf(step: (i: number) => Promise<unknown>, sessions: number): Promise<Spread> {
  const times: number[] = []
  const batch = Math.min(20_000, sessions)
  let at = 0
  for (let round = 0; round < 9; round++) {
    const before = process.cpuUsage()
    for (let i = 0; i < batch; i++) await step((at = (at + 7919) % sessions))
    const { user, system } = process.cpuUsage(before)
    times.push((user + system) / batch)
  }
  return spreadOf(times)
}

/**
 * The stall is the CPU time of this process between two turns of the event loop, to which other processes add nothing, though its own
 * collector does. Of the main thread alone, Linux tells it in steps of 4 ms.
 */
async function sweepOf(probe: Probe, sweep: () => Promise<unknown>) {
  const size = probe.size()
  collect()
  let stall = 0
  let isDone = false
  const watch = async (): Promise<void> => {
    while (!isDone) {
      const before = process.cpuUsage()
      await new Promise((resolve) => setImmediate(resolve))
      const { user, system } = process.cpuUsage(before)
      stall = Math.max(stall, (user + system) / 1000)
    }
  }
  const watching = watch()
  const begin = performance.now()
  await new Promise((resolve) => setImmediate(resolve))
  await sweep()
  const took = performance.now() - begin
  isDone = true
  await watching
  return { took, stall, removed: size - probe.size() }
}

async function evictionOf(name: MemoryStoreName): Promise<MemoryResult['eviction']> {
  if (name === 'express-session' || name === 'Map') return 'no cap'
  console.warn = () => {}
  const probe = await probeOf(name, 1000)
  const ids = Array.from({ length: 1500 }, (_, i) => `${i}`.padStart(43, 'x'))
  for (const id of ids.slice(0, 1000)) await probe.set(id, data(0), LONG)
  for (const id of ids.slice(0, 500)) await probe.get(id)
  for (const id of ids.slice(1000)) await probe.set(id, data(0), LONG)
  const isThere = await Promise.all(ids.map(async (id) => (await probe.get(id)) != null))
  // The first 500 were used again, the next 500 not.
  return isThere.every((there, i) => there === (i < 500 || i >= 1000))
    ? 'least recently used'
    : 'something else'
}

async function probeOf(name: MemoryStoreName, cap: number): Promise<Probe> {
  switch (name) {
    case 'holdfast': {
      const { MemorySessionStore, SessionData } = await import('holdfast')
      const clock = { now: () => Date.now(), sleep: () => new Promise<void>(() => {}) }
      const store = new MemorySessionStore({ maxSessions: cap, maxTotalBytes: 2 ** 34, clock })
      let version = 0
      return {
        get: (id) => store.load(id),
        set: (id, data, ttl) =>
          store.set(id, new SessionData({ id, data: JSON.stringify(data), version: `v.${version++}` }), ttl),
        sweep: () => store.clearExpired(),
        size: () => store.size,
      }
    }
    case 'express-session': {
      const { default: session } = await import('express-session')
      const store = new session.MemoryStore()
      return {
        ...callbacks(store),
        // Expired sessions leave only when they are asked for, or all of them listed.
        sweep: () => new Promise((resolve) => store.all(resolve)),
        size: () => Object.keys((store as unknown as { sessions: object }).sessions).length,
      }
    }
    case 'memorystore': {
      const { default: session } = await import('express-session')
      const { default: memorystore } = await import('memorystore')
      const store = new (memorystore(session))({ max: cap })
      const { store: cache } = store as unknown as { store: { itemCount: number } }
      return { ...callbacks(store), sweep: async () => store.prune(), size: () => cache.itemCount }
    }
    case 'lru-cache': {
      const { LRUCache } = await import('lru-cache')
      const cache = new LRUCache<string, string>({
        max: cap,
        ttlResolution: 0,
        perf: { now: () => Date.now() },
      })
      return {
        get: async (id) => cache.get(id),
        set: async (id, data, ttl) => cache.set(id, JSON.stringify(data), { ttl: ttl * 1000 }),
        sweep: async () => cache.purgeStale(),
        size: () => cache.size,
      }
    }
    case 'Map': {
      const texts = new Map<string, string>()
      return {
        get: async (id) => texts.get(id),
        set: async (id, data) => texts.set(id, JSON.stringify(data)),
        sweep: null,
        size: () => texts.size,
      }
    }
  }
}

function callbacks(store: import('express-session').Store) {
  return {
    get: (id: string) => new Promise((resolve) => store.get(id, (_error, data) => resolve(data))),
    set: (id: string, data: object, ttl: number) => {
      const cookie = {
        maxAge: ttl * 1000,
        originalMaxAge: ttl * 1000,
        expires: new Date(Date.now() + ttl * 1000),
      }
      return new Promise((resolve) => store.set(id, { ...data, cookie }, resolve))
    },
  }
}
