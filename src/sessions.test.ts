import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'

import { describe, expect, test, vi } from 'vitest'

import type { Anything, Server, Visit } from '../test/support/core.ts'
import { arrive, dataBehind, holdUp, serve, setCookieOf, visit, withTime } from '../test/support/core.ts'
import { published } from '../test/support/published.ts'
import type { Decision } from './answer.ts'
import type { CookieSource } from './cookie/connection.ts'
import { SessionError } from './errors.ts'
import type { SessionEvent } from './events.ts'
import { Session } from './session/session.ts'
import { createSessions } from './sessions.ts'
import { SessionData } from './stores/session-data.ts'

const TOKEN = 'A'.repeat(43)
const SECRET = 's'.repeat(32)
const DAY = 86_400

type Handler = (session: Session<Anything>) => unknown

const write: Handler = ({ data }) => (data.a = 1)

describe('what a cookie is found to be', () => {
  type Case = [
    lookup: Decision['lookup'],
    setUp: (server: Server) => string | null | Promise<string | null>,
    events: Partial<SessionEvent>[],
    operations: number,
  ]

  test.each<Case>([
    ['none', () => null, [], 0],
    ['none', () => 'other=1; __Host-sessionx=2', [], 0],
    ['live', ({ sessions }) => arrive(sessions), [], 1],
    ['malformed', () => '__Host-session=', [{ kind: 'rejected', reason: 'grammar', id: null }], 0],
    ['malformed', () => `__Host-session=${TOKEN}=`, [{ kind: 'rejected', reason: 'grammar', id: null }], 0],
    [
      'missing',
      () => `__Host-session=${TOKEN}`,
      [{ kind: 'rejected', reason: 'unknown', id: expect.any(String) }],
      1,
    ],
    [
      'ended',
      async ({ sessions }) => {
        const cookie = await arrive(sessions)
        await visit(sessions, cookie, (session) => session.destroy())
        return cookie
      },
      [],
      1,
    ],
    [
      'unreadable',
      async ({ sessions, store }) => {
        const cookie = await arrive(sessions)
        store.fail('load', new SessionError('ERR_SESSION_RECORD', 'broken'))
        return cookie
      },
      [{ kind: 'rejected', reason: 'unreadable', id: expect.any(String) }],
      1,
    ],
    [
      'ambiguous',
      async ({ sessions }) => `${await arrive(sessions)}; ${await arrive(sessions)}`,
      [{ kind: 'rejected', reason: 'duplicate', id: null }],
      2,
    ],
  ])(
    '%s: is told, and opens what it leads to and nothing else',
    async (lookup, setUp, events, operations) => {
      const server = serve()
      const cookie = await setUp(server)
      server.asked()
      const seen = published('holdfast:event')
      const { decision, session, headers } = await visit(server.sessions, cookie)
      expect([decision.lookup, seen, server.asked()]).toEqual([
        lookup,
        events,
        Array(operations).fill('load'),
      ])
      expect([session.isNew, session.size]).toEqual([
        !['live', 'ended'].includes(lookup),
        lookup === 'live' ? 1 : 0,
      ])
      expect([headers, decision.cookie]).toEqual([[], 'left'])
    },
  )

  test.each<[string, object]>([
    ['idle', { idleTimeout: 60, touchEvery: 0 }],
    ['absolute', { absoluteTimeout: 60 }],
  ])(
    'expired (%s): also where the store still has it, because the limits were lowered',
    async (reason, limits) => {
      const { clock, sessions, other } = serve()
      const cookie = await arrive(sessions)
      await clock.advance(60_000)
      const events = published('holdfast:event')
      const { decision, session } = await visit(other(limits), cookie, write)
      expect(decision).toMatchObject({ lookup: 'expired', outcome: 'saved', wrote: 'created', cookie: 'set' })
      expect(events[0]).toEqual({ kind: 'expired', reason, id: (await sessions.open(cookie)).id })
      expect(session.id).not.toBe((await sessions.open(cookie)).id)
    },
  )

  test('expired (deadline): by the record, whatever the store thinks', async () => {
    const { clock, sessions, memory } = serve()
    const cookie = await arrive(sessions)
    const record = (await memory.get((await sessions.open(cookie)).id))!
    await memory.set(record.id, new SessionData({ ...record, data: '{}', expiresAt: clock.now() + 5 }))
    expect((await visit(sessions, cookie)).decision.lookup).toBe('live')
    await clock.advance(5)
    const events = published('holdfast:event')
    expect((await visit(sessions, cookie)).decision.lookup).toBe('expired')
    expect(events).toEqual([{ kind: 'expired', reason: 'deadline', id: record.id }])
  })

  test('forged: with secrets, a value that was not signed here is turned away without asking the store', async () => {
    const { other, asked } = serve()
    const sessions = other({ secrets: SECRET })
    const events = published('holdfast:event')
    const { decision } = await visit(sessions, `__Host-session=${TOKEN}.${'A'.repeat(22)}`)
    expect([decision.lookup, asked(), events]).toEqual([
      'forged',
      [],
      [{ kind: 'rejected', reason: 'signature', id: null }],
    ])
  })

  test('live: also among others that are not', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions, { a: 1 })
    const crowd = `__Host-session=junk; __Host-session=${TOKEN}; ${cookie}`
    const { decision, session } = await visit(sessions, crowd)
    expect([decision.lookup, session.get('a')]).toEqual(['live', 1])
  })

  test('live: one token under the tags of two secrets is one session', async () => {
    const { other } = serve()
    const newer = 'n'.repeat(32)
    const before = other({ secrets: SECRET })
    const after = other({ secrets: [newer, SECRET] })
    const old = await arrive(before, { a: 1 })
    const renewed = await visit(after, old, (session) => session.setExpiry(600))
    expect(renewed.cookie).not.toBe(old)
    expect((await after.open(`${old}; ${renewed.cookie}`)).get('a')).toBe(1)
  })

  test.each<[string, (cookie: string) => CookieSource]>([
    ['a Cookie header', (cookie) => cookie],
    ['Headers', (cookie) => new Headers({ cookie })],
    ['a Request', (cookie) => new Request('https://example.com', { headers: { cookie } })],
    [
      "node's request",
      (cookie) =>
        Object.assign(new IncomingMessage(new Socket()), { headers: { cookie, host: 'example.com' } }),
    ],
  ])('from %s', async (_, sourceOf) => {
    const { sessions } = serve()
    expect((await sessions.open(sourceOf(await arrive(sessions, { a: 1 })))).get('a')).toBe(1)
  })
})

describe('a visitor whose cookie leads nowhere', () => {
  test.each([null, '__Host-session=junk', `__Host-session=${TOKEN}`])(
    '(%s) gets one only when there is something to save, under a new id',
    async (cookie) => {
      const { sessions, memory } = serve()
      const idle = await visit(sessions, cookie, (session) => [session.get('a'), session.size])
      expect([idle.outcome, setCookieOf(idle), memory.size]).toEqual(['unchanged', undefined, 0])
      const first = await visit(sessions, cookie, write)
      const second = await visit(sessions, cookie, write)
      expect([first.outcome, memory.size]).toEqual(['saved', 2])
      expect(new Set([cookie, first.cookie, second.cookie]).size).toBe(3)
    },
  )
})

describe('a commit', () => {
  type Case = [
    name: string,
    act: Handler | undefined,
    expected: Pick<Decision, 'outcome' | 'wrote' | 'cookie' | 'why'>,
    operations: string[],
  ]
  const KNOWN = 'The browser has it already.'

  const check = async (
    server: Server,
    cookie: string | null,
    [, act, expected, operations]: Case,
  ): Promise<Visit> => {
    server.asked()
    const decisions = published('holdfast:commit')
    const commit = await visit(server.sessions, cookie, act)
    expect(server.asked()).toEqual(operations)
    expect(commit.decision).toEqual({ lookup: expect.any(String), ...expected, id: decisions[0]?.id })
    expect([commit.outcome, decisions]).toEqual([expected.outcome, [commit.decision]])
    const lines = commit.headers.map(([name, value]) => (name === 'Set-Cookie' ? name : `${name}: ${value}`))
    const sends = expected.cookie === 'set' || expected.cookie === 'cleared'
    expect(lines).toEqual(
      sends
        ? ['Set-Cookie', 'Vary: Cookie', 'Cache-Control: no-store']
        : act === undefined
          ? []
          : ['Vary: Cookie'],
    )
    return commit
  }

  const ofNone: Case[] = [
    [
      'that is not used',
      undefined,
      { outcome: 'unchanged', wrote: 'nothing', cookie: 'left', why: 'There is nothing to remember.' },
      [],
    ],
    [
      'that is read',
      (s) => s.get('a'),
      { outcome: 'unchanged', wrote: 'nothing', cookie: 'left', why: 'There is nothing to remember.' },
      [],
    ],
    [
      'that is written',
      write,
      { outcome: 'saved', wrote: 'created', cookie: 'set', why: 'The session is new.' },
      ['create'],
    ],
    [
      'that signs in',
      (s) => s.signIn('ada'),
      { outcome: 'saved', wrote: 'created', cookie: 'set', why: 'The session is new.' },
      ['create', 'noteUser'],
    ],
    [
      'that is written and emptied',
      (s) => (write(s), s.clear()),
      { outcome: 'saved', wrote: 'created', cookie: 'set', why: 'The session is new.' },
      ['create'],
    ],
    [
      'that saves for itself',
      async (s) => (write(s), await s.save()),
      { outcome: 'unchanged', wrote: 'nothing', cookie: 'set', why: 'The session is new.' },
      ['create'],
    ],
    [
      'that is destroyed',
      (s) => s.destroy(),
      {
        outcome: 'destroyed',
        wrote: 'nothing',
        cookie: 'left',
        why: 'The session was over before; only the request that ends one clears its cookie.',
      },
      [],
    ],
  ]
  test.each(ofNone)('of a new session %s', async (...one) => {
    await check(serve(), null, one)
  })

  const ofLive: Case[] = [
    [
      'that is not used',
      undefined,
      { outcome: 'unchanged', wrote: 'nothing', cookie: 'left', why: KNOWN },
      ['load'],
    ],
    [
      'that is read',
      (s) => s.get('list'),
      { outcome: 'unchanged', wrote: 'nothing', cookie: 'left', why: KNOWN },
      ['load'],
    ],
    [
      'that is written',
      write,
      { outcome: 'saved', wrote: 'replaced', cookie: 'left', why: KNOWN },
      ['load', 'replace'],
    ],
    [
      'that is written inside',
      (s) => s.data.list.push(1),
      { outcome: 'saved', wrote: 'replaced', cookie: 'left', why: KNOWN },
      ['load', 'replace'],
    ],
    [
      'that is given another lifetime',
      (s) => s.setExpiry(60),
      { outcome: 'saved', wrote: 'replaced', cookie: 'set', why: 'The session was given another lifetime.' },
      ['load', 'replace'],
    ],
    [
      'that is rotated',
      (s) => s.rotate(),
      { outcome: 'saved', wrote: 'rotated', cookie: 'set', why: 'The session has a new token.' },
      ['load', 'create', 'end', 'touch'],
    ],
    [
      'that is destroyed',
      (s) => s.destroy(),
      { outcome: 'destroyed', wrote: 'nothing', cookie: 'cleared', why: 'This request ended the session.' },
      ['load', 'end'],
    ],
  ]
  test.each(ofLive)('of a live session %s', async (...one) => {
    const server = serve()
    await check(server, await arrive(server.sessions, { list: [] }), one)
  })

  const GONE = {
    outcome: 'gone',
    wrote: 'nothing',
    cookie: 'left',
    why: 'The session ended elsewhere, and the browser may hold a newer cookie by the time this answer arrives.',
  } as const
  test.each<Case>([
    ['that is not used', undefined, GONE, ['load']],
    ['that is written', write, GONE, ['load']],
    ['that is rotated', (s) => s.rotate(), GONE, ['load']],
    [
      'that signs in',
      (s) => s.signIn('ada'),
      { outcome: 'saved', wrote: 'created', cookie: 'set', why: 'The session is new.' },
      ['load', 'create', 'noteUser'],
    ],
  ])('of an ended session %s', async (...one) => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    await visit(server.sessions, cookie, (session) => session.destroy())
    await check(server, cookie, one)
  })

  test('and those beside it write each key as it was written, whatever JSON was read before', async () => {
    // V8 takes an escaped key for this one: see parseJson.
    JSON.parse(String.raw`{"cart":[],"\\":0}`)
    const { sessions } = serve()
    const { cookie } = await visit(sessions, null, ({ data }) => (data.cart = { cart: [], '"': 1 }))
    await Promise.all(
      ['"', '\n', '\b'].map((key) =>
        visit(sessions, cookie, (session) => session.update(key, () => ({ cart: [], [key]: key }))),
      ),
    )
    const { cart, ...others } = (await dataBehind(sessions, cookie)) as Anything
    expect(cart).toEqual({ cart: [], '"': 1 })
    expect(others).toEqual(
      Object.fromEntries(['"', '\n', '\b'].map((key) => [key, { cart: [], [key]: key }])),
    )
  })

  test('that fails is told of, and may be tried again', async () => {
    const { store, sessions, memory } = serve()
    const session = await sessions.open(null)
    write(session)
    store.fail('create')
    const decisions = published('holdfast:commit')
    await expect(sessions.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', status: 503 })
    expect(decisions).toEqual([
      {
        id: null,
        lookup: 'none',
        outcome: 'failed',
        wrote: 'nothing',
        cookie: 'left',
        why: 'The store failed; an outage signs nobody out.',
      },
    ])
    store.heal()
    expect(await sessions.commit(session)).toMatchObject({ outcome: 'saved', decision: { cookie: 'set' } })
    expect(memory.size).toBe(1)
  })

  test.each<[string, Handler]>([
    ['is too large', ({ data }) => (data.big = 'x'.repeat(70_000))],
    ['no store can keep', ({ data }) => ((data.list = []), data.list.push(1n))],
    [
      "an update's function refuses",
      (session) => {
        let calls = 0
        session.update('n', () => {
          if (++calls > 1) throw new RangeError('once only')
          return 1
        })
      },
    ],
  ])('of what %s fails for that, not for the store', async (_, act) => {
    const { sessions, memory } = serve()
    const decisions = published('holdfast:commit')
    await expect(visit(sessions, null, act)).rejects.toThrow()
    expect(decisions).toMatchObject([
      {
        outcome: 'failed',
        cookie: 'left',
        why: 'What the session holds cannot be saved; the error says why.',
      },
    ])
    expect(memory.size).toBe(0)
  })

  test('that makes a session tells of it', async () => {
    const { sessions } = serve()
    const events = published('holdfast:event')
    const { session } = await visit(sessions, null, write)
    expect(events).toEqual([{ kind: 'created', id: session.id }])
  })

  test('made twice sends the cookie once', async () => {
    const { sessions } = serve()
    const { session } = await visit(sessions, null, write)
    expect(await sessions.commit(session)).toMatchObject({
      outcome: 'unchanged',
      decision: { cookie: 'left' },
    })
  })

  test('that has nothing to write makes nobody wait', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const ended = await arrive(sessions)
    await visit(sessions, ended, (session) => session.destroy())
    for (const [from, act] of [
      [null, undefined],
      [cookie, undefined],
      [cookie, (session: Session<Anything>) => session.get('n')],
      [ended, undefined],
    ] as const) {
      const session = await sessions.open(from)
      act?.(session)
      expect(sessions.commitNow(session, 200)).not.toBeInstanceOf(Promise)
    }
    const destroyed = await sessions.open(cookie)
    await destroyed.destroy()
    expect(sessions.commitNow(destroyed, 200)).not.toBeInstanceOf(Promise)
  })

  test('and its changes, make nobody wait for a store that answers at once', async () => {
    const sessions = createSessions<Anything>()
    const cookie = await arrive(sessions)
    const session = sessions.openNow(cookie) as Session<Anything>
    session.set('n', 7)
    expect(sessions.commitNow(session, 200)).toMatchObject({ outcome: 'saved' })
    expect(await dataBehind(sessions, cookie)).toMatchObject({ n: 7 })
  })

  test('waits for a save that the handler left under way', async () => {
    const { store, sessions } = serve()
    const session = await sessions.open(null)
    write(session)
    const hold = holdUp(store, 'create')
    void session.save()
    const commit = sessions.commit(session)
    await hold.reached
    hold.letGo()
    expect(setCookieOf(await commit)).toMatch(/^__Host-session=[\w-]{43};/)
  })

  test('of a session that stood by itself puts all it has under a new id', async () => {
    const { sessions, memory } = serve()
    const mine = new Session<Anything>({
      data: new SessionData({ data: { a: 1 }, userId: 'ada', version: 'v' }),
    })
    const { id } = mine
    mine.data.b = 2
    const commit = await sessions.commit(mine)
    expect(commit.decision).toMatchObject({ outcome: 'saved', wrote: 'created', cookie: 'set' })
    expect(mine.id).not.toBe(id)
    // Who is signed in is for signIn to say.
    expect(await memory.get(mine.id)).toMatchObject({ data: { a: 1, b: 2 }, userId: null })
  })

  test('of a session that belongs to other sessions is refused', async () => {
    const { sessions, other, store, memory } = serve()
    for (const foreign of [await other().open(null), new Session<Anything>({ store })]) {
      foreign.data.a = 1
      await expect(sessions.commit(foreign)).rejects.toMatchObject({ code: 'ERR_SESSION_ARGUMENT' })
    }
    expect(memory.size).toBe(0)
  })
})

describe('the cookie', () => {
  test('by default is bound to the host, kept from scripts and from other sites', async () => {
    const { sessions } = serve()
    expect(setCookieOf(await visit(sessions, null, write))).toMatch(
      /^__Host-session=[\w-]{43}; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
  })

  test('is cleared by the same attributes', async () => {
    const { sessions } = serve({
      cookie: { name: 'sid', path: '/app', domain: 'example.com', sameSite: 'strict' },
    })
    const cookie = await arrive(sessions)
    expect(setCookieOf(await visit(sessions, cookie, (session) => session.destroy()))).toBe(
      'sid=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=example.com; Path=/app; HttpOnly; Secure; SameSite=Strict',
    )
  })

  const maxAge = (commit: Visit): string | undefined => /Max-Age=(\d+)/.exec(setCookieOf(commit) ?? '')?.[1]

  test('lasts for what is left of the absolute lifetime, or until the deadline that setExpiry gave', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(1_000_500)
    const rotated = await visit(sessions, cookie, (session) => session.rotate())
    expect(maxAge(rotated)).toBe(String(DAY - 1000))
    const short = await visit(sessions, rotated.cookie, (session) => session.setExpiry(90))
    expect(maxAge(short)).toBe('90')
    await clock.advance(30_000)
    expect(maxAge(await visit(sessions, rotated.cookie, (session) => session.setExpiry(null)))).toBe(
      String(DAY - 1030),
    )
    expect(maxAge(await visit(sessions, rotated.cookie, (session) => session.setExpiry(9 * DAY)))).toBe(
      String(DAY - 1030),
    )
  })

  test('goes out with a new lifetime whatever else was changed, and with a new session as such', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const changed = await visit(sessions, cookie, (session) => (write(session), session.setExpiry(90)))
    expect(changed.decision).toMatchObject({ cookie: 'set', why: 'The session was given another lifetime.' })
    const fresh = await visit(sessions, null, async (session) => {
      write(session)
      await session.save()
      session.setExpiry(90)
    })
    expect([fresh.decision.why, maxAge(fresh)]).toEqual(['The session is new.', '90'])
  })

  test.each([
    ['session', undefined, '90'],
    [5000, '5000', '90'],
  ] as const)(
    'lasts as cookie.maxAge: %s says, but for a deadline of its own',
    async (option, plain, short) => {
      const { sessions } = serve({ cookie: { maxAge: option } })
      expect(maxAge(await visit(sessions, null, write))).toBe(plain)
      const limited = await visit(sessions, null, (session) => session.setExpiry(90))
      expect(maxAge(limited)).toBe(option === 'session' ? undefined : short)
    },
  )

  test('never lasts longer than browsers keep one', async () => {
    const { sessions } = serve({ absoluteTimeout: 500 * DAY })
    expect(maxAge(await visit(sessions, null, write))).toBe(String(400 * DAY))
  })

  test('with cookie.always goes out with every answer, the first included, and its id stays', async () => {
    const { sessions, memory } = serve({ cookie: { always: true } })
    const first = await visit(sessions, null)
    expect(first.decision).toMatchObject({ outcome: 'saved', wrote: 'created', cookie: 'set' })
    for (const act of [undefined, write, undefined]) {
      const next = await visit(sessions, first.cookie, act)
      expect([next.cookie, next.decision.cookie]).toEqual([first.cookie, 'set'])
    }
    expect(memory.size).toBe(1)
    const last = await visit(sessions, first.cookie, (session) => session.destroy())
    expect(last.cookie).toBe(null)
    expect((await visit(sessions, first.cookie)).decision.cookie).toBe('left')
  })
})

describe('over a connection that takes no Secure cookie', () => {
  const http = 'http://example.com'

  test.each<[string, Handler]>([
    ['a new session', write],
    ['a sign-in', (session) => session.signIn('ada')],
    [
      'one that the handler saves',
      async (session) => (write(session), expect(await session.save()).toBe('unchanged')),
    ],
  ])('%s is not saved, and that is told, with the remedy', async (_, act) => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { sessions, memory, asked } = serve()
    const events = published('holdfast:event')
    const told = { kind: 'withheld', remedy: expect.stringContaining('trustProxy') }
    for (let i = 0; i < 2; i++) {
      const session = await sessions.open(new Request(http))
      await act(session)
      expect(await sessions.commit(session)).toMatchObject({
        outcome: 'withheld',
        headers: [['Vary', 'Cookie']],
        decision: {
          wrote: 'nothing',
          cookie: 'withheld',
          why: 'A Secure cookie cannot be set over this connection.',
        },
      })
      expect(session.isModified).toBe(false)
    }
    expect([memory.size, asked()]).toEqual([0, []])
    expect(events).toEqual([told, told])
    expect(warn.mock.calls).toEqual([[expect.stringContaining('trustProxy')]])
    vi.restoreAllMocks()
  })

  test('cookie.always starts no session either', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { sessions, memory } = serve({ cookie: { always: true } })
    expect((await sessions.commit(await sessions.open(new Request(http)))).outcome).toBe('withheld')
    expect(memory.size).toBe(0)
    vi.restoreAllMocks()
  })

  test('a session is not rotated either, by commit or by save, and its data is left alone', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { sessions, asked } = serve()
    const cookie = await arrive(sessions, { a: 1 })
    asked()
    const session = await sessions.open(new Request(http, { headers: { cookie } }))
    session.rotate()
    expect(await session.save()).toBe('unchanged')
    expect((await sessions.commit(session)).outcome).toBe('withheld')
    expect(asked()).toEqual(['load'])
    expect(await dataBehind(sessions, cookie)).toEqual({ a: 1 })
    vi.restoreAllMocks()
  })

  test('a session that is there is read, written and destroyed as ever', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(new Request(http, { headers: { cookie } }))
    write(session)
    expect((await sessions.commit(session)).outcome).toBe('saved')
    await session.destroy()
    expect((await sessions.commit(session)).decision.cookie).toBe('cleared')
  })

  test.each<[string, Request, object]>([
    ['https', new Request('https://example.com'), {}],
    ['the machine itself', new Request('http://localhost:3000'), {}],
    [
      'a trusted proxy',
      new Request(http, { headers: { 'x-forwarded-proto': 'https' } }),
      { trustProxy: true },
    ],
    ['a cookie that needs no https', new Request(http), { cookie: { secure: false } }],
  ])('but %s takes it', async (_, request, options) => {
    const { sessions } = serve(options)
    const session = await sessions.open(request)
    write(session)
    expect((await sessions.commit(session)).outcome).toBe('saved')
  })

  test('a forwarded header counts for nothing without trustProxy', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const { sessions } = serve()
    const session = await sessions.open(new Request(http, { headers: { 'x-forwarded-proto': 'https' } }))
    write(session)
    expect((await sessions.commit(session)).outcome).toBe('withheld')
    vi.restoreAllMocks()
  })
})

describe('activity', () => {
  const MINUTE = 60_000

  test('is noted once it went unnoted for touchEvery, by one touch and no write', async () => {
    const { clock, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    asked()
    await clock.advance(MINUTE - 1)
    expect((await visit(sessions, cookie)).decision.wrote).toBe('nothing')
    await clock.advance(1)
    const { decision, outcome, headers } = await visit(sessions, cookie)
    expect([outcome, decision.wrote, decision.cookie, headers]).toEqual(['unchanged', 'touched', 'left', []])
    expect(asked()).toEqual(['load', 'load', 'touch'])
  })

  test('of twenty requests at once is noted by one', async () => {
    const { clock, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(MINUTE)
    asked()
    await Promise.all(Array.from({ length: 20 }, () => visit(sessions, cookie)))
    expect(asked().filter((operation) => operation === 'touch')).toHaveLength(1)
  })

  test('of a busy visitor is noted once a minute', async () => {
    const { clock, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    for (let second = 0; second < 600; second += 5) {
      await clock.advance(5000)
      await visit(sessions, cookie)
    }
    expect(asked().filter((operation) => operation === 'touch')).toHaveLength(10)
  })

  test('is noted by a write as well, which then needs no touch', async () => {
    const { clock, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(MINUTE)
    asked()
    await visit(sessions, cookie, write)
    await visit(sessions, cookie)
    expect(asked()).toEqual(['load', 'replace', 'load'])
  })

  test('keeps a session alive, up to the absolute time-out', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    for (let hour = 1; hour < 24; hour++) {
      await clock.advance(60 * MINUTE)
      expect((await visit(sessions, cookie)).decision.lookup).toBe('live')
    }
    await clock.advance(60 * MINUTE - 1)
    expect((await visit(sessions, cookie)).decision.lookup).toBe('live')
    await clock.advance(1)
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('does not move a deadline of its own, set meanwhile by another request included', async () => {
    const { clock, sessions, other } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(MINUTE)
    const reader = await sessions.open(cookie)
    await visit(other(), cookie, (session) => session.setExpiry(90))
    expect((await sessions.commit(reader)).decision.wrote).toBe('nothing')
    await clock.advance(89_999)
    expect((await visit(sessions, cookie)).decision).toMatchObject({ lookup: 'live', wrote: 'nothing' })
    await clock.advance(1)
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('that cannot be noted spoils no answer, and is noted by the next', async () => {
    const { clock, store, sessions } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(MINUTE)
    store.fail('touch')
    const events = published('holdfast:event')
    expect((await visit(sessions, cookie)).decision.wrote).toBe('nothing')
    expect(events).toMatchObject([{ kind: 'store-failure', operation: 'touch' }])
    store.heal()
    expect((await visit(sessions, cookie)).decision.wrote).toBe('touched')
  })
})

describe('an answer of 500 or more', () => {
  const fail = (server: Server, cookie: string | null, act: Handler, status: number = 500): Promise<Visit> =>
    visit(server.sessions, cookie, act, status)

  test.each([500, 503, 599])('(%i) saves no data', async (status) => {
    const server = serve()
    const cookie = await arrive(server.sessions, { list: [1] })
    server.asked()
    const { outcome, decision } = await fail(
      server,
      cookie,
      ({ data }) => ((data.a = 1), data.list.push(2)),
      status,
    )
    expect([outcome, decision.wrote, decision.cookie, server.asked()]).toEqual([
      'discarded',
      'nothing',
      'left',
      ['load'],
    ])
    expect(await dataBehind(server.sessions, cookie)).toEqual({ list: [1] })
  })

  test('says so only where there was something to save', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    expect((await fail(server, cookie, (session) => session.get('n'))).outcome).toBe('unchanged')
    expect((await fail(server, null, () => {})).outcome).toBe('unchanged')
  })

  test('but 499 does', async () => {
    const server = serve()
    expect((await fail(server, null, write, 499)).outcome).toBe('saved')
  })

  test('starts no session and signs nobody in', async () => {
    const server = serve()
    for (const act of [write, (session: Session<Anything>) => session.signIn('ada')]) {
      const commit = await fail(server, null, act)
      expect([commit.outcome, setCookieOf(commit), server.memory.size]).toEqual(['discarded', undefined, 0])
      expect(commit.decision.why).toBe('The answer is an error, so nothing was saved.')
    }
  })

  test('holds what was destroyed', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    const commit = await fail(server, cookie, (session) => session.destroy())
    expect([commit.outcome, commit.cookie, await dataBehind(server.sessions, cookie)]).toEqual([
      'destroyed',
      null,
      null,
    ])
  })

  test.each<[string, Handler]>([
    ['rotated', (session) => session.rotate()],
    ['signed in, but signs nobody in', (session) => session.signIn('bob')],
  ])('holds what was rotated: a session that was %s', async (_, act) => {
    const server = serve()
    const old = await arrive(server.sessions, { a: 1 }, 'ada')
    const { decision, session, cookie } = await fail(server, old, (s) => (act(s), (s.data.b = 1)))
    expect([decision.wrote, session.userId, cookie === old]).toEqual(['rotated', 'ada', false])
    expect(await dataBehind(server.sessions, cookie)).toEqual({ a: 1 })
    expect(await dataBehind(server.sessions, old)).toBe(null)
  })

  test('leaves what the handler itself saved, and its cookie', async () => {
    const server = serve()
    const { cookie, decision } = await fail(server, null, async (session) => {
      write(session)
      await session.save()
      session.data.b = 1
    })
    expect(decision.cookie).toBe('set')
    expect(await dataBehind(server.sessions, cookie)).toEqual({ a: 1 })
  })

  test('saves nothing of a save that was under way and failed', async () => {
    const server = serve()
    const { store, sessions } = server
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    write(session)
    const hold = holdUp(store, 'replace')
    store.fail('replace')
    store.fail('load')
    const saving = session.save().catch((error: unknown) => error)
    const commit = sessions.commit(session, { status: 500 })
    hold.letGo()
    expect(await saving).toMatchObject({ code: 'ERR_SESSION_STORE' })
    store.heal()
    expect((await commit).outcome).toBe('discarded')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
  })

  test('still counts as activity', async () => {
    const server = serve()
    const cookie = await arrive(server.sessions)
    await server.clock.advance(60_000)
    expect((await fail(server, cookie, write)).decision).toMatchObject({
      outcome: 'discarded',
      wrote: 'touched',
    })
  })
})

describe('a store that does not answer', () => {
  test.each<[string, 'load' | 'create' | 'replace' | 'end', Handler]>([
    ['at opening', 'load', () => {}],
    ['at saving', 'replace', write],
    ['at rotating', 'end', (session) => session.rotate()],
    ['at creating', 'create', (session) => session.signIn('ada')],
    ['at destroying', 'end', (session) => session.destroy()],
  ])('%s fails the request at the deadline, and leaves the cookie alone', async (_, operation, act) => {
    const { clock, store, sessions } = serve({ storeTimeout: 0.5 })
    const cookie = await arrive(sessions)
    const begun = clock.now()
    store.hang(operation)
    const request = withTime(clock, visit(sessions, cookie, act))
    await expect(request).rejects.toMatchObject({ code: 'ERR_SESSION_TIMEOUT', status: 503 })
    expect(clock.now() - begun).toBeGreaterThanOrEqual(500)
    expect(clock.now() - begun).toBeLessThan(600)
  })

  test('to a touch holds the answer up until the deadline, and no longer', async () => {
    const { clock, store, sessions } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(60_000)
    store.hang('touch')
    expect((await withTime(clock, visit(sessions, cookie))).outcome).toBe('unchanged')
  })
})

describe('closing', () => {
  test('closes the store, once', async () => {
    const { sessions, asked } = serve()
    await sessions.close()
    await sessions[Symbol.asyncDispose]()
    expect(asked()).toEqual(['close'])
  })

  test.each<[string, 'replace' | 'end' | 'touch', Handler]>([
    ['a commit', 'replace', write],
    ['a rotation', 'end', (session) => session.rotate()],
    ['a sign-out', 'end', (session) => session.destroy()],
    ['a touch', 'touch', () => {}],
  ])('waits for %s that is under way', async (_, operation, act) => {
    const { clock, store, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    await clock.advance(60_000)
    const hold = holdUp(store, operation)
    const request = visit(sessions, cookie, act)
    await hold.reached
    const closing = sessions.close()
    expect(asked()).not.toContain('close')
    hold.letGo()
    await Promise.all([request, closing])
    expect(asked().at(-1)).toBe('close')
  })

  test('waits for what waited for another save', async () => {
    const { store, sessions, asked } = serve()
    const session = await sessions.open(await arrive(sessions))
    write(session)
    const hold = holdUp(store, 'replace')
    const saving = session.save()
    session.set('b', 2)
    const commit = sessions.commit(session)
    const closing = sessions.close()
    hold.letGo()
    await Promise.all([saving, commit, closing])
    expect(asked()).toEqual(['create', 'load', 'replace', 'replace', 'close'])
  })

  test('does not wait for ever', async () => {
    // By this clock no deadline comes, but whoever has patience loses it at once.
    const never = new Promise<never>(() => {})
    const clock = { now: () => 0, sleep: (ms: number) => (ms < 1000 ? never : Promise.resolve()) }
    const { store, sessions, asked } = serve({ clock })
    const cookie = await arrive(sessions)
    store.hang('replace')
    void visit(sessions, cookie, write)
    await sessions.close()
    expect(asked().at(-1)).toBe('close')
  })
})
