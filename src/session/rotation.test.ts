import { describe, expect, test } from 'vitest'

import type { Anything, Server } from '../../test/support/core.ts'
import { arrive, dataBehind, holdUp, serve, visit, withTime } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'
import { SessionData } from '../stores/session-data.ts'
import type { StoreOperation } from '../testing/faulty-store.ts'
import type { Session } from './session.ts'

type Handler = (session: Session<Anything>) => unknown

const rotate: Handler = (session) => session.rotate()
const signIn: Handler = (session) => session.signIn('ada')

/** Does something before the `nth` call of a store's operation from now on. */
function atCall({ store }: Server, operation: StoreOperation, nth: number, act: () => unknown): void {
  store.before = async (asked) => {
    if (asked !== operation || --nth > 0) return
    store.before = undefined
    await act()
  }
}

describe('rotating', () => {
  test('writes the new record before it ends the old one, and gives it its full time only then', async () => {
    const { clock, sessions, asked } = serve()
    const old = await arrive(sessions, { a: 1 })
    const opened = await sessions.open(old)
    asked()
    const events = published('holdfast:event')
    const { outcome, decision, session, cookie } = await visit(sessions, old, (s) => {
      s.rotate()
      s.data.b = 2
    })
    expect([outcome, decision.wrote, decision.cookie]).toEqual(['saved', 'rotated', 'set'])
    expect(asked()).toEqual(['load', 'create', 'end', 'touch'])
    expect(events).toEqual([{ kind: 'rotated', id: opened.id, successor: session.id, signedIn: false }])
    expect(cookie).not.toBe(old)
    expect(session.createdAt).toEqual(opened.createdAt)
    await clock.advance(3_659_999)
    expect([await dataBehind(sessions, cookie), await dataBehind(sessions, old)]).toEqual([
      { a: 1, b: 2 },
      null,
    ])
  })

  test('without a change leaves updatedAt alone', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(5000)
    const { session } = await visit(sessions, cookie, rotate)
    expect(session.updatedAt.getTime()).toBe(session.createdAt.getTime())
  })

  test('a session that has no record yet calls for nothing', async () => {
    const { sessions, memory } = serve()
    const { outcome, headers, decision } = await visit(sessions, null, rotate)
    expect([outcome, decision.wrote, headers, memory.size]).toEqual([
      'unchanged',
      'nothing',
      [['Vary', 'Cookie']],
      0,
    ])
  })

  test('carries over what another process wrote meanwhile', async () => {
    const server = serve()
    const { sessions, other } = server
    const old = await arrive(sessions)
    const events = published('holdfast:event')
    atCall(server, 'end', 1, () => visit(other(), old, ({ data }) => (data.theirs = 1)))
    const { cookie } = await visit(sessions, old, (session) => {
      session.rotate()
      session.update('n', (n) => n + 1)
    })
    expect(events.map(({ kind }) => kind)).toEqual(['conflict', 'rotated'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1, theirs: 1 })
  })

  test('keeps the objects that the handler holds the live ones', async () => {
    const { sessions } = serve()
    const { cookie } = await visit(sessions, await arrive(sessions, { cart: [] }), async (session) => {
      const { cart } = session.data
      session.rotate()
      await session.save()
      cart.push('tea')
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ cart: ['tea'] })
  })

  test('against others who never stop writing is given up at the deadline, and the old session stays', async () => {
    const server = serve()
    const { clock, store, memory, sessions } = server
    const cookie = await arrive(sessions)
    const { id } = await sessions.open(cookie)
    let writes = 0
    store.before = async (operation, at) => {
      if (operation !== 'end' || at !== id) return
      const present = (await memory.get(id))!
      await memory.set(id, new SessionData({ ...present, data: '{}', version: `theirs ${++writes}` }), 1000)
    }
    const begun = clock.now()
    await expect(withTime(clock, visit(sessions, cookie, rotate))).rejects.toMatchObject({
      code: 'ERR_SESSION_CONFLICT',
    })
    expect([writes > 10, writes < 500, clock.now() - begun < 1100]).toEqual([true, true, true])
    expect(await dataBehind(sessions, cookie)).toEqual({})
  })

  test('twice at once succeeds once: the other is gone, and leaves no second session', async () => {
    for (const sameProcess of [true, false]) {
      const { clock, sessions, other, memory } = serve()
      const cookie = await arrive(sessions)
      const outcomes = await withTime(
        clock,
        Promise.all([
          visit(sessions, cookie, rotate),
          visit(sameProcess ? sessions : other(), cookie, rotate),
        ]),
      )
      expect(outcomes.map(({ outcome }) => outcome).toSorted()).toEqual(['gone', 'saved'])
      expect(outcomes.filter(({ cookie: after }) => after === cookie)).toHaveLength(1)
      expect(memory.size).toBe(1)
    }
  })

  test('does not bring back a session that was destroyed meanwhile', async () => {
    const server = serve()
    const { sessions, other, memory } = server
    const cookie = await arrive(sessions)
    atCall(server, 'create', 1, () => visit(other(), cookie, (session) => session.destroy()))
    const { outcome, cookie: after } = await visit(sessions, cookie, rotate)
    expect([outcome, after, memory.size]).toEqual(['gone', cookie, 0])
  })

  test('nor one that is destroyed by its old id before the rotation is done', async () => {
    const server = serve()
    const { sessions, other, memory } = server
    for (const again of [rotate, signIn]) {
      const cookie = await arrive(sessions, {}, 'ada')
      atCall(server, 'touch', 1, () => visit(other(), cookie, (session) => session.destroy()))
      const { outcome, session } = await visit(sessions, cookie, again)
      expect([outcome, memory.size]).toEqual(['gone', 0])
      // Nor at a second commit: the sign-out came after the sign-in.
      expect((await sessions.commit(session)).outcome).toBe('gone')
      expect(memory.size).toBe(0)
    }
  })

  test('nor one whose successor is ended before that is finished', async () => {
    const { store, memory, sessions, other } = serve()
    const cookie = await arrive(sessions)
    const { id } = await sessions.open(cookie)
    // A conflict makes it write the new record once more, which by then somebody has revoked.
    store.before = async (operation, at) => {
      if (operation === 'end') {
        store.before = async (then, pending) => {
          if (then !== 'replace' || pending === id) return
          store.before = undefined
          await memory.end(pending!, { kind: 'mark', reason: 'revoked', successor: null, sameUser: false })
        }
        await visit(other(), cookie, ({ data }) => (data.theirs = 1))
      }
      expect(at).not.toBe(null)
    }
    await expect(visit(sessions, cookie, rotate)).rejects.toMatchObject({ code: 'ERR_SESSION_CONFLICT' })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, theirs: 1 })
  })

  test('nor one that has run out', async () => {
    const { clock, sessions, memory } = serve()
    const session = await sessions.open(await arrive(sessions))
    session.rotate()
    await clock.advance(3_660_000)
    expect((await sessions.commit(session)).outcome).toBe('gone')
    expect(memory.size).toBe(0)
  })

  test('but one that was active elsewhere since it was read', async () => {
    const { clock, sessions } = serve()
    const old = await arrive(sessions)
    const session = await sessions.open(old)
    await clock.advance(1_800_000)
    await visit(sessions, old)
    await clock.advance(1_900_000)
    session.rotate()
    expect((await sessions.commit(session)).outcome).toBe('saved')
  })

  test('asked for while a save runs is not lost with it', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const { decision, session } = await visit(sessions, cookie, async (s) => {
      s.rotate()
      const hold = holdUp(store, 'create')
      const saving = s.save()
      await hold.reached
      s.signIn('ada')
      hold.letGo()
      await saving
    })
    expect([decision.wrote, session.userId]).toEqual(['rotated', 'ada'])
  })

  test('the data of a record that cannot be read starts afresh instead', async () => {
    const { sessions, memory } = serve()
    const cookie = await arrive(sessions)
    const { id } = await sessions.open(cookie)
    const record = (await memory.get(id))!
    for (const act of [rotate, signIn]) {
      await memory.set(id, new SessionData({ ...record, data: '{' }))
      const session = await sessions.open(cookie)
      act(session)
      expect(session.isNew).toBe(true)
      expect((await sessions.commit(session)).outcome).toBe(act === rotate ? 'unchanged' : 'saved')
    }
  })
})

describe('signing in', () => {
  test('brings the data of an anonymous visitor along, under a new id, and starts both clocks anew', async () => {
    const { clock, sessions } = serve()
    const old = await arrive(sessions, { cart: ['tea'], untouched: 1 })
    await visit(sessions, old, (session) => session.setExpiry(1800))
    await clock.advance(1_000_000)
    const { session, cookie } = await visit(sessions, old, (s) => {
      s.signIn('ada')
      s.data.cart.push('milk')
    })
    expect(session).toMatchObject({ userId: 'ada', createdAt: new Date(clock.now()) })
    expect(session.expiresAt?.getTime()).toBe(clock.now() + 3_660_000)
    expect([await dataBehind(sessions, cookie), await dataBehind(sessions, old)]).toEqual([
      { cart: ['tea', 'milk'], untouched: 1 },
      null,
    ])
  })

  test('works for a visitor without a session', async () => {
    const { sessions, asked } = serve()
    const { session, decision, cookie } = await visit(sessions, null, (s) => {
      s.data.cart = ['tea']
      s.signIn('ada')
    })
    expect([decision.wrote, asked()]).toEqual(['created', ['create', 'noteUser']])
    expect([session.userId, await dataBehind(sessions, cookie)]).toEqual(['ada', { cart: ['tea'] }])
  })

  test('as another user starts empty; nothing of the one before comes along, by whatever way', async () => {
    const server = serve()
    const { store, sessions, other } = server
    const hers = await arrive(sessions, { secret: 'hers', list: ['hers'] }, 'ada')
    const { cookie, session } = await visit(sessions, hers, async (s) => {
      s.data.list.push('more')
      s.data.pending = 'hers'
      s.update('secret', (secret) => `${secret}!`)
      s.setExpiry(600)
      const hold = holdUp(store, 'replace')
      store.fail('replace')
      const saving = s.save().catch(() => 'failed')
      await hold.reached
      s.signIn('bob')
      s.data.own = 'his'
      hold.letGo()
      expect(await saving).toBe('failed')
      store.heal()
      atCall(server, 'end', 1, () => visit(other(), hers, ({ data }) => (data.late = 'hers')))
    })
    expect([session.userId, { ...session.data }]).toEqual(['bob', { own: 'his' }])
    expect(await dataBehind(sessions, cookie)).toEqual({ own: 'his' })
  })

  test('as another user leaves a sign-out of the one before without effect on it, and the other way round', async () => {
    const { sessions } = serve()
    const hers = await arrive(sessions, {}, 'ada')
    const late = await sessions.open(hers)
    const { cookie: his } = await visit(sessions, hers, (session) => session.signIn('bob'))
    await late.destroy()
    expect((await sessions.open(his)).userId).toBe('bob')
  })

  const moments = ['before the request', 'before create', 'before end', 'once it is open'] as const

  // By another process: within one, they would wait for each other.
  test.each<[string, typeof moments | ['once it is open'], (server: Server, old: string) => unknown]>([
    ['destroyed', moments, ({ other }, old) => visit(other(), old, (session) => session.destroy())],
    ['rotated', moments, ({ other }, old) => visit(other(), old, rotate)],
    ['signed in', moments, ({ other }, old) => visit(other(), old, (session) => session.signIn('eve'))],
    ['found expired', ['once it is open'], ({ clock }) => clock.advance(3_660_000)],
  ])('is not refused because the session before was %s', async (what, when, end) => {
    for (const moment of when) {
      const server = serve()
      const { sessions, memory } = server
      const old = await arrive(sessions, { cart: ['old'], n: 1 })
      if (moment === 'before the request') await end(server, old)
      const { outcome, session, cookie } = await visit(sessions, old, async (opened) => {
        opened.data.before = 1
        opened.get('cart', []).push('old')
        if (moment === 'once it is open') await end(server, old)
        if (moment === 'before create') atCall(server, 'create', 1, () => end(server, old))
        if (moment === 'before end') atCall(server, 'end', 1, () => end(server, old))
        opened.signIn('ada')
        opened.data.since = []
        opened.data.since.push('mine')
        opened.update('n', (n = 10) => n + 1)
      })
      expect([moment, outcome, session.userId, cookie === old]).toEqual([moment, 'saved', 'ada', false])
      expect({ ...session.data }).toEqual({ since: ['mine'], n: 11 })
      expect(await dataBehind(sessions, cookie)).toEqual({ since: ['mine'], n: 11 })
      // It ends no one else's: what the old session has become is still there beside it.
      expect(memory.size).toBe(['rotated', 'signed in'].includes(what) ? 2 : 1)
    }
  })

  test('keeps what was changed while it started afresh', async () => {
    const server = serve()
    const { store, sessions, memory } = server
    const old = await arrive(sessions, { cart: ['old'] })
    const { cookie } = await visit(sessions, old, async (session) => {
      const { cart } = session.data
      session.signIn('ada')
      const { id } = await sessions.open(old)
      atCall(server, 'end', 1, async () => {
        await memory.end(id, { kind: 'mark', reason: 'revoked', successor: null, sameUser: false })
        session.data.meanwhile = 1
        cart.push('never')
      })
      expect(await session.save()).toBe('saved')
      expect({ ...session.data }).toEqual({ meanwhile: 1 })
      expect(store.before).toBe(undefined)
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ meanwhile: 1 })
  })

  test('asked for while a save finds the session gone is still carried out', async () => {
    const { store, sessions, other } = serve()
    const old = await arrive(sessions)
    const { outcome, session, cookie } = await visit(sessions, old, async (s) => {
      s.data.a = 1
      const hold = holdUp(store, 'replace')
      const saving = s.save()
      await hold.reached
      await visit(other(), old, (theirs) => theirs.destroy())
      s.signIn('ada')
      s.data.since = 1
      hold.letGo()
      expect(await saving).toBe('gone')
      expect(s.userId).toBe('ada')
    })
    expect([outcome, session.userId]).toEqual(['saved', 'ada'])
    expect(await dataBehind(sessions, cookie)).toEqual({ since: 1 })
  })
})

// S18
describe('a rotation that fails at a step leaves the old session or the new one, never neither, never both', () => {
  test.each<[StoreOperation, 'old' | 'new']>([
    ['create', 'old'],
    ['end', 'old'],
    ['touch', 'new'],
  ])('at %s: the %s one', async (step, remains) => {
    const { clock, store, sessions, memory } = serve()
    const cookie = await arrive(sessions, { a: 1 })
    store.fail(step)
    const failing = withTime(clock, visit(sessions, cookie, rotate))
    await expect(failing).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', operation: step })
    store.heal()
    expect(await dataBehind(sessions, cookie)).toEqual(remains === 'old' ? { a: 1 } : null)
    // A new record beside the old one is pending, and withers within a few deadlines.
    if (remains === 'old') await clock.advance(5000)
    await memory.clearExpired()
    expect(memory.size).toBe(1)
  })

  test.each<StoreOperation>(['create', 'end', 'touch'])(
    'and a lost reply to %s is settled by reading again',
    async (step) => {
      const { store, sessions, memory, clock } = serve()
      const old = await arrive(sessions, { a: 1 })
      store.loseReply(step)
      if (step === 'touch')
        store.before = (asked) => void (asked === 'touch' && store.calls.length > 5 && store.heal())
      const { outcome, cookie } = await withTime(clock, visit(sessions, old, rotate))
      expect([outcome, memory.size, await dataBehind(sessions, cookie)]).toEqual(['saved', 1, { a: 1 }])
      expect(await dataBehind(sessions, old)).toBe(null)
    },
  )

  test('nor does one whose update may already have been made make it twice', async () => {
    const { clock, store, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.update('n', (n) => n + 1)
    store.hang('replace')
    await expect(withTime(clock, session.save())).rejects.toMatchObject({ code: 'ERR_SESSION_TIMEOUT' })
    store.heal()
    await new Promise(setImmediate)
    session.rotate()
    await expect(sessions.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_OUTCOME_UNKNOWN' })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })
})
