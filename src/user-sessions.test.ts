import { describe, expect, test } from 'vitest'

import type { Server } from '../test/support/core.ts'
import { arrive, dataBehind, holdUp, serve, visit, withTime } from '../test/support/core.ts'
import { published } from '../test/support/published.ts'
import { createSessions } from './sessions.ts'
import { SessionStore } from './stores/store.ts'

const MINUTE = 60_000

/** Signs ada in so many times, a minute apart; the Cookie header of each. */
async function devices({ sessions, clock }: Server, count: number): Promise<string[]> {
  const cookies: string[] = []
  for (let i = 0; i < count; i++) {
    cookies.push(await arrive(sessions, { device: i }, 'ada'))
    await clock.advance(MINUTE)
  }
  return cookies
}

async function idBehind({ sessions }: Server, cookie: string): Promise<string> {
  return (await sessions.open(cookie)).id
}

/** Which of these still lead to a session. */
async function alive({ sessions }: Server, cookies: readonly string[]): Promise<number[]> {
  const found = await Promise.all(cookies.map((cookie) => dataBehind(sessions, cookie)))
  return found.flatMap((data, i) => (data === null ? [] : [i]))
}

async function listed({ sessions }: Server, userId = 'ada'): Promise<string[]> {
  return (await sessions.forUser(userId).list()).map(({ id }) => id)
}

describe('the list of a user’s sessions', () => {
  test('is empty for whoever is not signed in', async () => {
    const server = serve()
    await arrive(server.sessions)
    await arrive(server.sessions, {}, 'bea')
    expect(await listed(server)).toEqual([])
  })

  test('has them all, and says since when, until when, and when last', async () => {
    const server = serve({ idleTimeout: 600, absoluteTimeout: 1800 })
    const { sessions, clock } = server
    const start = clock.now()
    const [first, second] = await devices(server, 2)
    await clock.advance(5 * MINUTE)
    await visit(sessions, first!)
    expect(await sessions.forUser('ada').list()).toEqual([
      {
        id: await idBehind(server, first!),
        createdAt: new Date(start),
        lastActiveAt: new Date(start + 7 * MINUTE),
        expiresAt: new Date(start + 18 * MINUTE),
        device: null,
      },
      {
        id: await idBehind(server, second!),
        createdAt: new Date(start + MINUTE),
        lastActiveAt: new Date(start + MINUTE),
        expiresAt: new Date(start + 12 * MINUTE),
        device: null,
      },
    ])
  })

  test('has neither what was signed out, nor what has run out by whichever rule', async () => {
    const server = serve({ idleTimeout: 600, absoluteTimeout: 1800 })
    const { sessions, clock } = server
    const [gone, idle, own, kept] = await devices(server, 4)
    await visit(sessions, gone!, (session) => session.destroy())
    await visit(sessions, own!, (session) => session.setExpiry(120))
    await clock.advance(3 * MINUTE)
    await visit(sessions, kept!)
    expect(await listed(server)).toHaveLength(2)
    await clock.advance(5 * MINUTE)
    await visit(sessions, kept!)
    expect(await listed(server)).toEqual([await idBehind(server, kept!)])
    expect(await dataBehind(sessions, idle!)).toBe(null)
    for (let i = 0; i < 4; i++) {
      await clock.advance(6 * MINUTE)
      await visit(sessions, kept!)
    }
    expect(await listed(server)).toEqual([])
  })

  test('goes by the limits of this server, whatever the store has', async () => {
    const server = serve()
    await devices(server, 1)
    const strict = server.other({ idleTimeout: 30, touchEvery: 5 })
    expect(await strict.forUser('ada').list()).toEqual([])
    // Which takes nothing from those with other limits.
    expect(await listed(server)).toHaveLength(1)
  })

  test.each([
    ['when the new record is there', 'noteUser'],
    ['when that is noted', 'end'],
  ] as const)('has a session once while it is given a new id, %s', async (_, operation) => {
    const server = serve()
    const { sessions, store } = server
    const [cookie] = await devices(server, 1)
    const old = await idBehind(server, cookie!)
    const { reached, letGo } = holdUp(store, operation)
    const rotating = visit(sessions, cookie!, (session) => session.rotate())
    await reached
    expect(await listed(server)).toEqual([old])
    letGo()
    const { session } = await rotating
    expect(await listed(server)).toEqual([session.id])
  })

  test('believes no hint, and drops those that lead nowhere', async () => {
    const server = serve()
    const { sessions, store } = server
    const [cookie] = await devices(server, 1)
    const bea = await idBehind(server, await arrive(sessions, {}, 'bea'))
    const anonymous = await idBehind(server, await arrive(sessions))
    const hints = [bea, anonymous, 'of-nothing', await idBehind(server, cookie!)]
    const forgotten: unknown[] = []
    store.idsOfUser = async () => hints
    store.forgetUser = async (...args) => void forgotten.push(args)
    expect(await listed(server)).toEqual([hints[3]])
    expect(forgotten).toEqual([['ada', hints.slice(0, 3)]])
    // Nor does any harm come to them.
    expect(await sessions.forUser('ada').revokeAll()).toBe(1)
    expect((await sessions.forUser('bea').list()).length).toBe(1)
    expect(await sessions.forUser('ada').revoke('of-nothing')).toBe(false)
  })

  test('does not fail for a hint that cannot be taken away', async () => {
    const server = serve()
    await devices(server, 1)
    server.store.idsOfUser = async () => ['of-nothing']
    server.store.fail('forgetUser')
    expect(await listed(server)).toEqual([])
  })
})

describe('revoking a session', () => {
  test('ends it at once, for requests in flight too, and no other', async () => {
    const server = serve()
    const { sessions, memory } = server
    const events = published('holdfast:event')
    const cookies = await devices(server, 2)
    const inFlight = await sessions.open(cookies[0])
    inFlight.set('late', true)
    expect(await sessions.forUser('ada').revoke(inFlight.id)).toBe(true)
    const { outcome, headers } = await sessions.commit(inFlight)
    expect([outcome, headers]).toEqual(['gone', [['Vary', 'Cookie']]])
    expect(await alive(server, cookies)).toEqual([1])
    expect(await memory.load(inFlight.id)).toMatchObject({ reason: 'revoked', successor: null })
    expect(events).toContainEqual({ kind: 'revoked', id: inFlight.id })
    expect(await sessions.forUser('ada').revoke(inFlight.id)).toBe(false)
  })

  test('ends what it was rotated into', async () => {
    const server = serve()
    const { sessions } = server
    const [cookie] = await devices(server, 1)
    const id = await idBehind(server, cookie!)
    let rotated = cookie!
    for (let i = 0; i < 3; i++)
      rotated = (await visit(sessions, rotated, (session) => session.rotate())).cookie!
    expect(await sessions.forUser('ada').revoke(id)).toBe(true)
    expect(await alive(server, [rotated])).toEqual([])
  })

  test('stops where another user signed in', async () => {
    const server = serve()
    const { sessions } = server
    const [cookie] = await devices(server, 1)
    const id = await idBehind(server, cookie!)
    const { cookie: beas } = await visit(sessions, cookie!, (session) => session.signIn('bea'))
    expect(await sessions.forUser('ada').revoke(id)).toBe(false)
    expect(await sessions.forUser('ada').revokeAll()).toBe(0)
    expect(await alive(server, [beas!])).toEqual([0])
  })

  test('is for its own user alone', async () => {
    const server = serve()
    const { sessions } = server
    const bea = await arrive(sessions, { n: 1 }, 'bea')
    const nobody = await arrive(sessions)
    for (const cookie of [bea, nobody])
      expect(await sessions.forUser('ada').revoke(await idBehind(server, cookie))).toBe(false)
    for (const odd of ['', 'x', '__proto__', 'user:ada', '\0', '🦊'.repeat(100)])
      expect(await sessions.forUser('ada').revoke(odd)).toBe(false)
    expect(await alive(server, [bea, nobody])).toEqual([0, 1])
  })

  test('is confirmed by the store, or fails and may be tried again', async () => {
    const server = serve()
    const { sessions, store } = server
    const cookies = await devices(server, 2)
    const id = await idBehind(server, cookies[0]!)
    for (const revoke of [
      () => sessions.forUser('ada').revoke(id),
      () => sessions.forUser('ada').revokeAll(),
    ]) {
      store.fail('end')
      await expect(revoke()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', status: 503 })
      store.heal()
    }
    expect(await alive(server, cookies)).toEqual([0, 1])
    expect(await sessions.forUser('ada').revoke(id)).toBe(true)
    expect(await sessions.forUser('ada').revokeAll()).toBe(1)
  })

  test('counts where the reply is lost', async () => {
    const server = serve()
    const [cookie] = await devices(server, 1)
    server.store.before = (operation) => {
      if (operation === 'end') server.store.loseReply('end')
      else server.store.heal()
    }
    expect(await server.sessions.forUser('ada').revoke(await idBehind(server, cookie!))).toBe(true)
  })
})

describe('revoking all others', () => {
  test('leaves the one at hand, given as a session or by its id', async () => {
    const server = serve()
    const { sessions } = server
    const cookies = await devices(server, 4)
    const current = await sessions.open(cookies[2])
    expect(await sessions.forUser('ada').revokeOthers(current)).toBe(3)
    expect(await alive(server, cookies)).toEqual([2])
    await devices(server, 2)
    expect(await sessions.forUser('ada').revokeOthers(current.id)).toBe(2)
    expect(await listed(server)).toEqual([current.id])
  })

  test('leaves it as well while it is given a new id, at every step of that', async () => {
    for (const operation of ['create', 'noteUser', 'end', 'touch'] as const) {
      const server = serve()
      const { sessions, store, clock } = server
      const [cookie, other] = await devices(server, 2)
      const current = await sessions.open(cookie)
      const { reached, letGo } = holdUp(store, operation)
      const rotating = visit(sessions, cookie!, (session) => session.rotate())
      await reached
      const revoking = sessions.forUser('ada').revokeOthers(current)
      await clock.advance(0)
      letGo()
      const { outcome, cookie: next } = await rotating
      expect(await withTime(clock, revoking)).toBe(1)
      expect([operation, outcome, await alive(server, [next!, other!])]).toEqual([operation, 'saved', [0]])
    }
  })

  test('ends another one that is being given a new id, at every step of that', async () => {
    for (const operation of ['create', 'noteUser', 'end', 'touch'] as const) {
      const server = serve()
      const { sessions, store, clock } = server
      const [cookie, other] = await devices(server, 2)
      const current = await sessions.open(cookie)
      const { reached, letGo } = holdUp(store, operation)
      const rotating = visit(sessions, other!, (session) => session.rotate())
      await reached
      const revoking = sessions.forUser('ada').revokeOthers(current)
      await clock.advance(0)
      letGo()
      const { cookie: next } = await rotating
      expect([operation, await withTime(clock, revoking)]).toEqual([operation, 1])
      expect(await alive(server, [cookie!, next!, other!])).toEqual([0])
    }
  })

  test('goes with a new id for the one at hand, in one request', async () => {
    const server = serve()
    const { sessions } = server
    const cookies = await devices(server, 3)
    const { cookie } = await visit(sessions, cookies[1]!, async (session) => {
      session.rotate()
      await sessions.forUser('ada').revokeOthers(session)
    })
    expect(await alive(server, [...cookies, cookie!])).toEqual([3])
  })

  test('leaves none where the one at hand is somebody else’s, or has ended', async () => {
    const server = serve()
    const { sessions } = server
    const cookies = await devices(server, 2)
    const bea = await arrive(sessions, { n: 1 }, 'bea')
    expect(await sessions.forUser('ada').revokeOthers(await sessions.open(bea))).toBe(2)
    expect(await alive(server, [...cookies, bea])).toEqual([2])
  })
})

describe('revoking all', () => {
  test('ends all of this user’s sessions and nobody else’s', async () => {
    const server = serve()
    const { sessions } = server
    const cookies = await Promise.all(Array.from({ length: 250 }, () => arrive(sessions, { n: 1 }, 'ada')))
    const bea = await arrive(sessions, { n: 1 }, 'bea')
    expect(await sessions.forUser('ada').revokeAll()).toBe(250)
    expect(await alive(server, [...cookies, bea])).toEqual([250])
    expect(await sessions.forUser('ada').revokeAll()).toBe(0)
  })

  test('looks again for whoever signed in meanwhile', async () => {
    const server = serve()
    const { sessions, store } = server
    const cookies = await devices(server, 1)
    let more = 3
    store.before = async (operation) => {
      if (operation !== 'end' || more-- <= 0) return
      const { before } = store
      store.before = undefined
      cookies.push(await arrive(sessions, { n: 1 }, 'ada'))
      store.before = before
    }
    expect(await sessions.forUser('ada').revokeAll()).toBe(4)
    expect(await alive(server, cookies)).toEqual([])
  })

  // SECURITY.md, S18a: revocation holds against a rotation at the same moment.
  test.each(['rotate', 'sign in again', 'sign in'] as const)(
    'ends a session that is about to %s, at every step of that',
    async (act) => {
      for (const operation of ['noteUser', 'end', 'touch'] as const) {
        const server = serve()
        const { sessions, store } = server
        const cookie = act === 'sign in' ? await arrive(sessions) : (await devices(server, 1))[0]!
        const { reached, letGo } = holdUp(store, operation)
        const rotating = visit(sessions, cookie, (session) =>
          act === 'rotate' ? session.rotate() : session.signIn('ada'),
        )
        await reached
        await sessions.forUser('ada').revokeAll()
        letGo()
        const { outcome, cookie: next } = await rotating
        expect([operation, outcome, await alive(server, [cookie, next!])]).toEqual([operation, 'gone', []])
        expect(await listed(server)).toEqual([])
      }
    },
  )
})

describe('forUser', () => {
  test('takes the id of a user', () => {
    const { sessions } = serve()
    for (const wrong of ['', '\uD800', null, 7])
      expect(() => sessions.forUser(wrong as string)).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_ARGUMENT' }),
      )
  })

  test('says so where the store cannot tell, and names those that can', async () => {
    class Plain extends SessionStore {
      get = async (): Promise<null> => null
      set = async (): Promise<void> => {}
      delete = async (): Promise<boolean> => false
      exists = async (): Promise<boolean> => false
    }
    const sessions = createSessions({ store: new Plain() })
    expect(() => sessions.forUser('ada')).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_NO_USER_INDEX',
        message: expect.stringMatching(/Memory.*Sqlite.*Redis.*UserIndex/),
      }),
    )
    // Signing in needs no index.
    const session = await sessions.open(null)
    session.signIn('ada')
    expect((await sessions.commit(session)).outcome).toBe('saved')
  })

  test('is the business of no other request: reads and writes ask the store once, and a touch notes once', async () => {
    const { sessions, clock, asked } = serve()
    const cookie = await arrive(sessions, {}, 'ada')
    asked()
    await visit(sessions, cookie)
    expect(asked()).toEqual(['load'])
    await visit(sessions, cookie, ({ data }) => (data.n = 1))
    expect(asked()).toEqual(['load', 'replace'])
    await clock.advance(MINUTE)
    await visit(sessions, cookie)
    expect(asked()).toEqual(['load', 'touch', 'noteUser'])
  })
})

describe('a sign-in', () => {
  test('is not told of before it can be found', async () => {
    for (const from of ['nothing', 'anonymous'] as const) {
      const server = serve()
      const { sessions, store, memory } = server
      const cookie = from === 'nothing' ? null : await arrive(sessions)
      store.fail('noteUser')
      const signingIn = visit(sessions, cookie, (session) => session.signIn('ada'))
      await expect(signingIn).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', operation: 'noteUser' })
      // The anonymous session is as it was.
      if (cookie !== null) expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
      expect(memory.size).toBeLessThanOrEqual(2)
    }
  })

  test('survives a lost reply to the note', async () => {
    const server = serve()
    const { sessions, store } = server
    store.before = (operation) => {
      if (operation !== 'noteUser') return
      store.before = () => store.heal()
      store.loseReply('noteUser')
    }
    await arrive(sessions, {}, 'ada')
    expect(await listed(server)).toHaveLength(1)
  })

  test('is found by its first touch where the note was lost', async () => {
    const server = serve()
    const { sessions, store, clock } = server
    // A failover of the store may lose what it has acknowledged.
    const noted = new Set<string>()
    let isLost = true
    store.noteUser = async (_, id) => void (isLost || noted.add(id))
    store.idsOfUser = async () => [...noted]
    const cookie = await arrive(sessions, {}, 'ada')
    expect(await listed(server)).toEqual([])
    isLost = false
    await clock.advance(MINUTE)
    await visit(sessions, cookie)
    expect(await listed(server)).toHaveLength(1)
  })
})
