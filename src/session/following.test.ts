import { setImmediate as nextTurn } from 'node:timers/promises'

import { describe, expect, test } from 'vitest'

import type { Anything, Server } from '../../test/support/core.ts'
import { arrive, holdUp, serve, visit, withTime } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'
import { Context } from '../context.ts'
import type { SessionError } from '../errors.ts'
import type { Sessions } from '../sessions.ts'
import type { Mark } from '../stores/store.ts'

const revoked: Mark = { kind: 'mark', reason: 'revoked', successor: null, sameUser: false }

/** Something that stays open on the session behind a cookie. */
async function open(sessions: Sessions<Anything>, cookie: string): Promise<Context<Anything>> {
  const session = await sessions.open(cookie)
  const context = new Context<Anything>({ sessions, request: 'GET /socket', session })
  expect(context.signal.aborted).toBe(false)
  return context
}

/** Lets everything be done that needs no time to pass. */
async function settle({ clock }: Server): Promise<void> {
  for (let i = 0; i < 10; i++) await clock.advance(0)
}

function reasonOf({ signal }: Context<Anything>): string | null {
  return signal.aborted ? (signal.reason as SessionError).reason! : null
}

/** A server whose other processes are heard of only by looking. */
function serveDeaf(): Server {
  const server = serve()
  server.store.losesNotices = true
  return server
}

describe('what stays open on a session learns of its end', () => {
  test.each<[string, (server: Server, cookie: string) => Promise<unknown>, string]>([
    ['signed out', ({ other }, cookie) => visit(other(), cookie, (s) => s.destroy()), 'destroyed'],
    ['signed in anew', ({ other }, cookie) => visit(other(), cookie, (s) => s.signIn('uma')), 'rotated'],
    ['given a new id', ({ other }, cookie) => visit(other(), cookie, (s) => s.rotate()), 'rotated'],
    [
      'revoked',
      async ({ memory, sessions }, cookie) => memory.end((await sessions.open(cookie)).id, revoked),
      'revoked',
    ],
    ['revoked with all of its user', ({ other }) => other().forUser('vera').revokeAll(), 'revoked'],
    [
      'removed',
      async ({ memory, sessions }, cookie) => memory.delete((await sessions.open(cookie)).id),
      'gone',
    ],
  ])('%s by another process: at once, where the store tells', async (_, end, reason) => {
    const server = serve()
    const cookie = await arrive(server.sessions, {}, 'vera')
    const context = await open(server.sessions, cookie)
    await settle(server)
    await end(server, cookie)
    await settle(server)
    expect(reasonOf(context)).toBe(reason)
    expect(context.signal.reason).toMatchObject({ code: 'ERR_SESSION_ENDED', status: 401 })
    expect(server.sessions.followed).toBe(0)
  })

  test('by another process: within 30 s, where every notice is lost', async () => {
    const server = serveDeaf()
    const cookie = await arrive(server.sessions)
    const context = await open(server.sessions, cookie)
    await server.clock.advance(7000)
    await visit(server.other(), cookie, (session) => session.destroy())
    await server.clock.advance(5000)
    expect(reasonOf(context)).toBe(null)
    await server.clock.advance(25_000)
    expect(reasonOf(context)).toBe('destroyed')
  })

  test('by this process: at once, whatever the store', async () => {
    for (const end of ['destroy', 'rotate'] as const) {
      const server = serveDeaf()
      const cookie = await arrive(server.sessions)
      const context = await open(server.sessions, cookie)
      await visit(server.sessions, cookie, (session) => session[end]())
      await settle(server)
      expect(reasonOf(context)).toBe(end === 'destroy' ? 'destroyed' : 'rotated')
    }
  })

  test('between the reading of it and the first notice', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const session = await server.sessions.open(cookie)
    await visit(server.other(), cookie, (other) => other.destroy())
    const context = new Context<Anything>({ sessions: server.sessions, session })
    expect(context.signal.aborted).toBe(false)
    await settle(server)
    expect(reasonOf(context)).toBe('destroyed')
  })

  test('all of them, on one session and on others', async () => {
    const server = serve()
    const [first, second] = [await arrive(server.sessions), await arrive(server.sessions)]
    const contexts = await Promise.all([first, first, second].map((cookie) => open(server.sessions, cookie)))
    await visit(server.other(), first, (session) => session.destroy())
    await settle(server)
    expect(contexts.map(reasonOf)).toEqual(['destroyed', 'destroyed', null])
    expect(server.sessions.followed).toBe(1)
  })
})

describe('what stays open on a session learns that its time ran out', () => {
  test.each([
    ['idle', 3660],
    ['absolute', 86_400],
  ])('by the %s timeout, without any traffic', async (kind, seconds) => {
    const server = serve(kind === 'absolute' ? { idleTimeout: 200_000 } : {})
    const events = published('holdfast:event')
    const context = await open(server.sessions, await arrive(server.sessions))
    await server.clock.advance(seconds * 1000 - 2)
    expect(reasonOf(context)).toBe(null)
    await server.clock.advance(1002)
    expect(reasonOf(context)).toBe('expired')
    expect(events.filter(({ kind }) => kind === 'store-failure')).toEqual([])
  })

  test('by the deadline that it was given, sooner than the next look at all', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const context = await open(server.sessions, cookie)
    await visit(server.other(), cookie, (session) => session.setExpiry(5))
    await server.clock.advance(4990)
    expect(reasonOf(context)).toBe(null)
    await server.clock.advance(1010)
    expect(reasonOf(context)).toBe('expired')
  })

  test('not while it is active elsewhere', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const context = await open(server.sessions, cookie)
    for (let minutes = 0; minutes < 120; minutes += 30) {
      await server.clock.advance(30 * 60_000)
      await visit(server.other(), cookie)
    }
    expect(reasonOf(context)).toBe(null)
  })

  test('and being open is no activity', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    await open(server.sessions, cookie)
    server.asked()
    await server.clock.advance(3_600_000)
    const asked = server.asked()
    expect(new Set(asked)).toEqual(new Set(['peek']))
    // Every 20 to 30 s.
    expect(asked.length).toBeGreaterThan(119)
    expect(asked.length).toBeLessThan(185)
  })
})

describe('a store that fails', () => {
  test('ends nothing, and is asked again', async () => {
    const server = serveDeaf()
    const cookie = await arrive(server.sessions)
    const context = await open(server.sessions, cookie)
    server.store.fail('peek')
    await server.clock.advance(60_000)
    expect(reasonOf(context)).toBe(null)
    await visit(server.other(), cookie, (session) => session.destroy())
    server.store.heal()
    await server.clock.advance(2000)
    expect(reasonOf(context)).toBe('destroyed')
  })

  test('to tell notices is asked for them again with the next look', async () => {
    const server = serve()
    const events = published('holdfast:event')
    const cookie = await arrive(server.sessions)
    server.store.fail('watch')
    const context = await open(server.sessions, cookie)
    await settle(server)
    expect(events).toContainEqual(expect.objectContaining({ kind: 'store-failure', operation: 'watch' }))
    server.store.heal()
    await server.clock.advance(30_000)
    await visit(server.other(), cookie, (session) => session.destroy())
    await settle(server)
    expect(reasonOf(context)).toBe('destroyed')
  })
})

describe('a change by others is told of', () => {
  async function listening(server: Server = serve()) {
    const cookie = await arrive(server.sessions, { a: 1, b: { c: 1 } })
    const context = await open(server.sessions, cookie)
    const told: (readonly string[])[] = []
    const seen: Anything[] = []
    context.onChange((keys, session) => {
      told.push([...keys].sort())
      seen.push({ ...session.data })
    })
    await settle(server)
    return { ...server, server, cookie, context, told, seen }
  }

  test('by the keys that changed, with the session as it is', async () => {
    const { server, other, cookie, told, seen } = await listening()
    await visit(other(), cookie, ({ data }) => {
      data.b.c = 2
      data.d = 3
    })
    await settle(server)
    await visit(other(), cookie, (session) => session.delete('a'))
    await settle(server)
    expect(told).toEqual([['b', 'd'], ['a']])
    expect(seen.at(-1)).toEqual({ b: { c: 2 }, d: 3 })
  })

  test('within 30 s, where every notice is lost', async () => {
    const { server, other, cookie, told } = await listening(serveDeaf())
    await visit(other(), cookie, ({ data }) => (data.a = 2))
    await server.clock.advance(30_000)
    expect(told).toEqual([['a']])
  })

  test('made before anybody listened, but after the session was read', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions, { a: 1 })
    const context = await open(server.sessions, cookie)
    await visit(server.other(), cookie, ({ data }) => (data.a = 2))
    await settle(server)
    const told: unknown[] = []
    context.onChange((keys) => void told.push(keys))
    await server.clock.advance(30_000)
    expect(told).toEqual([['a']])
  })

  test('but not what callbacks of its own change', async () => {
    const { server, other, cookie, context, told } = await listening()
    const write = context.callback(({ session }, value: number) => session.set('a', value))
    await write(2)
    await write(3)
    await settle(server)
    await server.clock.advance(30_000)
    expect(told).toEqual([])
    await visit(other(), cookie, ({ data }) => (data.e = 1))
    await write(4)
    await settle(server)
    expect(told).toEqual([['e']])
  })

  test('nor costs a read', async () => {
    const { server, context, asked } = await listening()
    asked()
    await context.callback(({ session }) => session.set('a', 2))()
    await settle(server)
    expect(asked()).toEqual(['load', 'replace'])
  })

  test('by a socket on the same session in the same process', async () => {
    const { server, sessions, cookie, told } = await listening()
    const second = await open(sessions, cookie)
    await second.callback(({ session }) => session.set('a', 2))()
    await settle(server)
    expect(told).toEqual([['a']])
  })

  test('made by somebody while a callback of its own wrote, each in one of the two orders', async () => {
    for (const isFirst of [true, false]) {
      const { server, other, cookie, context, told } = await listening()
      await context.callback(async ({ session }) => {
        if (isFirst) await visit(other(), cookie, ({ data }) => (data.theirs = 1))
        session.set('own', 1)
      })()
      if (!isFirst) await visit(other(), cookie, ({ data }) => (data.theirs = 1))
      await settle(server)
      expect(told.flat()).toContain('theirs')
    }
  })

  test('to nobody who has stopped listening', async () => {
    const { server, other, cookie, context, told } = await listening()
    let heard = 0
    const stop = context.onChange(() => void heard++)
    stop()
    stop()
    await visit(other(), cookie, ({ data }) => (data.a = 2))
    await settle(server)
    expect([told, heard]).toEqual([[['a']], 0])
    context.close()
    await visit(other(), cookie, ({ data }) => (data.a = 3))
    await server.clock.advance(60_000)
    expect(told).toEqual([['a']])
  })

  test('and a listener that throws harms nobody', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions, { a: 1 })
    const errors: unknown[] = []
    const { sessions } = server
    const session = await sessions.open(cookie)
    const context = new Context<Anything>({ sessions, session, onError: (error) => errors.push(error) })
    let heard = 0
    context.onChange(() => {
      throw new RangeError('one')
    })
    context.onChange(() => Promise.reject(new RangeError('two')))
    context.onChange(() => void heard++)
    await visit(server.other(), cookie, ({ data }) => (data.a = 2))
    await settle(server)
    expect([errors, heard]).toEqual([[new RangeError('one'), new RangeError('two')], 1])
  })

  test('in no order of writes by others and itself is one of theirs missed', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const { server, other, cookie, context, told } = await listening()
      let state = seed
      const random = (n: number): number => (state = (state * 48_271) % 2_147_483_647) % n
      const peer = other()
      const write = context.callback(({ session }, i: number) => session.set(`own${i}`, i))
      const works: Promise<unknown>[] = []
      for (let i = 0; i < 12; i++) {
        works.push(random(2) === 0 ? write(i) : visit(peer, cookie, ({ data }) => (data[`theirs${i}`] = i)))
        for (let turns = random(4); turns > 0; turns--) await nextTurn()
      }
      await withTime(server.clock, Promise.all(works))
      await settle(server)
      const { data } = await peer.open(cookie)
      const theirs = Object.keys(data).filter((key) => key.startsWith('theirs'))
      expect(told.flat(), `seed ${seed}`).toEqual(expect.arrayContaining(theirs))
    }
  })
})

describe('a request that asks for its signal', () => {
  test('goes along where it gives its session a new id itself', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const context = await open(server.sessions, cookie)
    context.session.rotate()
    await server.sessions.commit(context.session)
    await settle(server)
    await server.clock.advance(31_000)
    expect(reasonOf(context)).toBe(null)
    await context.session.reload()
    await server.memory.end(context.session.id, revoked)
    await settle(server)
    expect(reasonOf(context)).toBe('revoked')
  })

  test('does not take its own rotation for the end, however long that takes', async () => {
    const server = serve()
    const context = await open(server.sessions, await arrive(server.sessions))
    await settle(server)
    const { reached, letGo } = holdUp(server.store, 'touch')
    context.session.rotate()
    const committing = server.sessions.commit(context.session)
    await reached
    await settle(server)
    letGo()
    await committing
    await settle(server)
    expect([reasonOf(context), server.sessions.followed]).toEqual([null, 1])
  })

  test('follows a session that is created only after', async () => {
    const server = serve()
    const context = new Context<Anything>({ ...server, session: await server.sessions.open(null) })
    expect([context.signal.aborted, server.sessions.followed]).toEqual([false, 0])
    context.session.data.a = 1
    await server.sessions.commit(context.session)
    expect(server.sessions.followed).toBe(1)
    await server.memory.delete(context.session.id)
    await settle(server)
    expect(reasonOf(context)).toBe('gone')
  })

  test('costs the store nothing where it does not ask', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    server.asked()
    const context = new Context<Anything>({ ...server, session: await server.sessions.open(cookie) })
    await context.callback(({ session }) => session.get('n'))()
    expect(server.asked()).toEqual(['load', 'load'])
    expect(server.sessions.followed).toBe(0)
  })
})

describe('nothing is left', () => {
  test('of ten thousand that came and went', async () => {
    const server = serve()
    const watches = countWatches(server)
    const cookies = await Promise.all(Array.from({ length: 100 }, () => arrive(server.sessions)))
    for (let round = 0; round < 10; round++) {
      const contexts = await Promise.all(
        Array.from({ length: 1000 }, (_, i) => open(server.sessions, cookies[i % 100]!)),
      )
      for (const context of contexts) context.onChange(() => {})
      expect(server.sessions.followed).toBe(100)
      if (round % 2 === 0) await settle(server)
      for (const context of contexts) context.close()
      expect(server.sessions.followed).toBe(0)
      await settle(server)
      expect(watches()).toBe(0)
    }
    server.asked()
    await server.clock.advance(120_000)
    expect(server.asked()).toEqual([])
  })

  test('after the sessions are closed', async () => {
    const server = serve()
    const watches = countWatches(server)
    const context = await open(server.sessions, await arrive(server.sessions))
    await settle(server)
    expect(watches()).toBe(1)
    await server.sessions.close()
    expect([server.sessions.followed, watches(), reasonOf(context)]).toEqual([0, 0, null])
    server.asked()
    await server.clock.advance(120_000)
    expect(server.asked()).toEqual([])
  })
})

test('ten thousand idle sessions are looked at in batches, and the event loop turns between them', async () => {
  const server = serve()
  server.store.losesNotices = true
  const cookies = await Promise.all(Array.from({ length: 10_000 }, () => arrive(server.sessions)))
  for (const cookie of cookies) await open(server.sessions, cookie)
  for (let i = 0; i < 5; i++) await settle(server)
  server.asked()
  let turns = 0
  let isDone = false
  const count = (): void => {
    turns++
    if (!isDone) setImmediate(count)
  }
  setImmediate(count)
  await server.clock.advance(30_000)
  for (let i = 0; i < 60; i++) await nextTurn()
  isDone = true
  expect(server.asked()).toEqual(Array.from({ length: 20 }, () => 'peek'))
  expect(turns).toBeGreaterThan(20)
})

/** How many watches a server's store has, from now on. */
function countWatches({ memory }: Server): () => number {
  let count = 0
  const watch = memory.watch.bind(memory)
  memory.watch = async (id, listener) => {
    const unwatch = await watch(id, listener)
    count++
    return () => {
      count--
      unwatch()
    }
  }
  return () => count
}
