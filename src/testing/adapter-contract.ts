import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { Context } from '../context.ts'
import type { CookieOptions } from '../cookie/attributes.ts'
import { SessionError } from '../errors.ts'
import type { SessionsOptions } from '../options.ts'
import { Session } from '../session/session.ts'
import type { Sessions } from '../sessions.ts'
import { createSessions } from '../sessions.ts'
import { MemorySessionStore } from '../stores/memory.ts'
import { seeded, shuffle } from './_store-model.ts'
import { ManualClock } from './clock.ts'
import type { Browser } from './cookie-jar.ts'
import { CookieJar, createBrowser } from './cookie-jar.ts'
import type { StoreOperation } from './faulty-store.ts'
import { FaultyStore } from './faulty-store.ts'

/** How the contract reaches the adapter under test. */
export interface AdapterHarness {
  /**
   * Serves `handler` in the adapter's framework, behind its `sessionMiddleware(sessions)` and nothing else that
   * touches sessions, cookies or caching. An error that the handler throws goes the framework's own way; where that is to
   * reject, the harness answers 500 in its place, as the runtime would.
   */
  serve(sessions: Sessions, handler: ExchangeHandler): AdapterServer | Promise<AdapterServer>
}

/** What {@link AdapterHarness.serve} started. */
export interface AdapterServer {
  /** Sends a request for a path, with its query, over a connection that takes `Secure` cookies: https, or localhost. Follows no redirect. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  /** Stops serving. */
  close(): void | Promise<void>
}

/** A handler written once for every framework. */
export type ExchangeHandler = (exchange: Exchange) => Promise<Answer>

/** One request, as such a handler sees it. */
export interface Exchange {
  readonly method: string
  /** The URL's path, without the query. */
  readonly path: string
  /** The request's session, as the framework hands it out. To assign it does what replaces the session there. */
  session: Session
}

/** What such a handler answers. */
export interface Answer {
  /** Default: 200. */
  readonly status?: number
  /** Header lines, several of one name allowed. To be set before the body begins. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
  /** Text; or pieces of it, each to be sent as it comes; or none. Default: none. */
  readonly body?: string | AsyncIterable<string> | null
}

/** One thing that an adapter must do. */
export interface AdapterTest {
  /** A sentence. */
  readonly name: string
  /** Rejects when the adapter does otherwise. */
  run(harness: AdapterHarness): Promise<void>
}

/**
 * What every adapter must do, as data: hand each test to the test runner of your choice. Not to be run with
 * `NODE_ENV=development`, where the cookie has another name.
 *
 * @example
 * for (const { name, run } of adapterContract) test(name, () => run(harness))
 */
export const adapterContract: readonly AdapterTest[] = [
  // the cookie

  one('the first thing stored sets the cookie, and it leads back to the session', async ({ serve }) => {
    const { browser } = await serve()
    const response = await browser.fetch('/set/theme/dark')
    assert.equal(response.status, 200)
    assert.match(
      onlyCookie(response),
      /^__Host-session=[\w-]{43}; Max-Age=86400; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
    assert.equal(response.headers.get('vary'), 'Cookie')
    assert.equal(response.headers.get('cache-control'), 'no-store')
    assert.deepEqual(await seen(browser), { user: null, theme: 'dark' })
  }),

  one('a session counts visits across requests, and its cookie is set once', async ({ serve, memory }) => {
    const { browser } = await serve()
    for (let visit = 1; visit <= 5; visit++) {
      const response = await browser.fetch('/visit')
      assert.equal(await response.text(), String(visit))
      assert.equal(cookiesOf(response).length, visit === 1 ? 1 : 0)
    }
    assert.equal(memory.size, 1)
  }),

  one('visitors who store nothing get no cookie, and leave nothing behind', async ({ serve, memory }) => {
    const { fetch } = await serve()
    const cookies = ['', UNKNOWN, cookie('bad'), cookie(''), `${UNKNOWN}; ${cookie('B'.repeat(42))}`]
    for (const header of cookies)
      for (const path of ['/', '/plain', '/sign-out', '/nowhere']) {
        const response = await fetch(path, withCookie(header))
        assert.equal(response.status, path === '/nowhere' ? 404 : 200)
        assert.deepEqual(response.headers.getSetCookie(), [], `${path} with ${header}`)
        assert.equal(response.headers.get('cache-control'), null)
      }
    assert.equal(memory.size, 0)
  }),

  one('without the cookie, the store is asked for nothing', async ({ serve, store }) => {
    const { fetch } = await serve()
    await fetch('/', withCookie('other=1; session=2; x__Host-session=3'))
    assert.deepEqual(store.calls, [])
  }),

  one('the answer varies by the cookie where the handler has used the session', async ({ serve }) => {
    const { browser } = await serve()
    for (const _ of ['without a session', 'with one']) {
      assert.equal((await browser.fetch('/plain')).headers.get('vary'), null)
      assert.equal((await browser.fetch('/')).headers.get('vary'), 'Cookie')
      await browser.fetch('/visit')
    }
  }),

  one('one cookie is set, however much was done', async ({ serve }) => {
    const { browser } = await serve({
      all({ session }) {
        session.set('a', '1')
        session.flash('notice', 'Welcome')
        session.signIn('ada')
        session.rotate()
        session.setExpiry(600)
      },
    })
    const first = onlyCookie(await browser.fetch('/all'))
    assert.match(first, /; Max-Age=600;/)
    assert.notEqual(pairOf(onlyCookie(await browser.fetch('/all'))), pairOf(first))
    assert.deepEqual(await seen(browser), { user: 'ada', a: '1', notice: 'Welcome' })
  }),

  one('the cookies of the application survive', async ({ serve }) => {
    const own = [
      'theme=dark; Path=/',
      'lang=en; Expires=Thu, 01 Jan 2037 00:00:00 GMT',
      '__Host-session2=x; Path=/; Secure',
    ]
    const { browser } = await serve({
      own({ session }) {
        session.set('a', '1')
        return { headers: own.map((line) => ['Set-Cookie', line] as const) }
      },
    })
    const response = await browser.fetch('/own')
    const ours = onlyCookie(response)
    assert.deepEqual(
      response.headers.getSetCookie().filter((line) => line !== ours),
      own,
    )
  }),

  one('Vary and Cache-Control are put beside those of the application', async ({ serve }) => {
    const cases: readonly (readonly [header: string, given: string, does: string, expected: string])[] = [
      ['Vary', 'Accept-Encoding', 'read', 'Accept-Encoding, Cookie'],
      ['Vary', 'Accept, COOKIE', 'read', 'Accept, COOKIE'],
      ['Vary', '*', 'read', '*'],
      ['Vary', 'Accept-Encoding', 'nothing', 'Accept-Encoding'],
      ['Cache-Control', 'public, max-age=60', 'read', 'public, max-age=60'],
      ['Cache-Control', 'public, max-age=60', 'write', 'no-store'],
      ['Cache-Control', 'private, no-store', 'write', 'private, no-store'],
    ]
    const { fetch } = await serve({
      case({ session }, number) {
        const [header, given, does] = cases[Number(number)]!
        if (does === 'read') session.get('a')
        if (does === 'write') session.set('a', '1')
        return { headers: [[header, given]] }
      },
    })
    for (const [number, [header, given, does, expected]] of cases.entries()) {
      const response = await fetch(`/case/${number}`)
      assert.equal(response.headers.get(header), expected, `${header}: ${given}, when it does ${does}`)
    }
  }),

  one('signing out clears the cookie, whatever its attributes', async ({ serve, memory }) => {
    const cookies: readonly CookieOptions[] = [
      {},
      { path: '/app' },
      { domain: 'example.com' },
      { domain: 'example.com', path: '/app', sameSite: 'strict' },
      { secure: false },
      { secure: false, name: 'sid', httpOnly: false, maxAge: 600 },
      { sameSite: 'none', partitioned: true, priority: 'high' },
      { name: '__Secure-sid', maxAge: 'session' },
    ]
    for (const options of cookies) {
      const { browser, sessions } = await serve({}, { cookie: options }, 'https://www.example.com')
      const { name, suffix } = sessions.cookie
      await browser.fetch('/app/set/a/1')
      assert.deepEqual(await seen(browser, '/app/'), { user: null, a: '1' })
      const response = await browser.fetch('/app/sign-out')
      assert.deepEqual(response.headers.getSetCookie(), [
        `${name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT${suffix}`,
      ])
      assert.equal(response.headers.get('cache-control'), 'no-store')
      assert.equal(browser.jar.size, 0, JSON.stringify(options))
      assert.equal(memory.size, 0)
    }
  }),

  one('only the request that ends a session clears its cookie', async ({ serve }) => {
    const { browser, fetch, header } = await serve()
    await browser.fetch('/visit')
    const old = header()
    onlyCookie(await browser.fetch('/sign-out'))
    for (const path of ['/', '/visit', '/sign-out'])
      assert.deepEqual(cookiesOf(await fetch(path, withCookie(old))), [])
  }),

  one('cookie.always sends the cookie with every answer, under one id', async ({ serve, memory }) => {
    const { browser } = await serve({}, { cookie: { always: true } })
    const first = onlyCookie(await browser.fetch('/plain'))
    for (let i = 0; i < 3; i++) assert.equal(onlyCookie(await browser.fetch('/')), first)
    assert.equal(memory.size, 1)
  }),

  // which cookies are believed

  one(
    'a signed cookie leads back to the session; a forged or malformed one not even to the store',
    async (stage) => {
      const { browser, fetch, header } = await stage.serve({}, { secrets: SECRET })
      assert.match(onlyCookie(await browser.fetch('/set/a/1')), /^__Host-session=[\w-]{43}\.[\w-]{22};/)
      assert.deepEqual(await seen(browser), { user: null, a: '1' })
      const genuine = header().slice(header().indexOf('=') + 1)
      stage.store.calls.length = 0
      for (const value of [
        (genuine.startsWith('A') ? 'B' : 'A') + genuine.slice(1),
        genuine.slice(0, 43),
        `${'A'.repeat(43)}.${'A'.repeat(22)}`,
        `${genuine}x`,
        'x'.repeat(4000),
      ]) {
        const response = await fetch('/', withCookie(cookie(value)))
        assert.deepEqual(await response.json(), { user: null })
        assert.deepEqual(cookiesOf(response), [])
      }
      assert.deepEqual(stage.store.calls, [])
    },
  ),

  one('a cookie that leads to no session is not adopted when there is something to save', async (stage) => {
    const { browser, fetch, header } = await stage.serve()
    await browser.fetch('/visit')
    const expired = header()
    await stage.clock.advance(2 * HOUR)
    for (const planted of [UNKNOWN, cookie('malformed'), expired]) {
      const given = pairOf(onlyCookie(await fetch('/set/a/1', withCookie(planted))))
      assert.notEqual(given, planted)
      assert.deepEqual(await seenWith(fetch, given), { user: null, a: '1' })
      assert.deepEqual(await seenWith(fetch, planted), { user: null })
    }
  }),

  one('a sign-in never goes on under a cookie that was planted', async ({ serve, clock }) => {
    const { browser, fetch, header } = await serve()
    await browser.fetch('/visit')
    const expired = header()
    await clock.advance(2 * HOUR)
    await browser.fetch('/visit')
    const destroyed = header()
    await browser.fetch('/sign-out')
    for (const planted of [UNKNOWN, cookie('malformed'), expired, destroyed]) {
      const given = pairOf(onlyCookie(await fetch('/sign-in', withCookie(planted))))
      assert.notEqual(given, planted)
      assert.deepEqual(await seenWith(fetch, given), { user: 'ada' })
      assert.deepEqual(await seenWith(fetch, planted), { user: null })
    }
  }),

  one('who planted a living session gains nothing by a sign-in on it', async ({ serve }) => {
    const { browser: attacker, fetch, header } = await serve()
    await attacker.fetch('/visit')
    const victim = pairOf(onlyCookie(await fetch('/sign-in', withCookie(header()))))
    assert.notEqual(victim, header())
    assert.deepEqual(await seenWith(fetch, victim), { user: 'ada', visits: 1 })
    assert.deepEqual(await seen(attacker), { user: null })
    await attacker.fetch('/set/a/1')
    assert.deepEqual(await seenWith(fetch, victim), { user: 'ada', visits: 1 })
  }),

  one('of two living sessions neither is believed, in whichever order they come', async ({ serve }) => {
    const { fetch } = await serve()
    const [one, two] = [
      pairOf(onlyCookie(await fetch('/sign-in/ada'))),
      pairOf(onlyCookie(await fetch('/sign-in/eve'))),
    ]
    for (const both of [`${one}; ${two}`, `${two}; ${one}`]) {
      const response = await fetch('/', withCookie(both))
      assert.deepEqual(await response.json(), { user: null })
      assert.deepEqual(cookiesOf(response), [])
    }
    assert.deepEqual(await seenWith(fetch, `${one}; ${one}`), { user: 'ada' })
  }),

  one('a living session is found beside dead ones, and few are looked at', async ({ serve, store }) => {
    const { fetch } = await serve()
    const living = pairOf(onlyCookie(await fetch('/sign-in')))
    for (const both of [`${living}; ${UNKNOWN}`, `${UNKNOWN}; ${living}`, `${cookie('bad')}; ${living}`])
      assert.deepEqual(await seenWith(fetch, both), { user: 'ada' })
    store.calls.length = 0
    const many = Array.from({ length: 50 }, (_, i) => cookie(String(i).padStart(2, '0').padEnd(43, 'A')))
    await seenWith(fetch, many.join('; '))
    assert.equal(store.calls.length, 4)
  }),

  // errors

  one('an answer of 500 or more saves nothing; any other does', async ({ serve, memory }) => {
    const { browser, fetch } = await serve({
      answer({ session }, status) {
        session.set('status', status)
        return { status: Number(status) }
      },
    })
    for (const status of [500, 503]) {
      const response = await fetch(`/answer/${status}`)
      assert.equal(response.status, status)
      assert.deepEqual(cookiesOf(response), [])
    }
    assert.equal(memory.size, 0)
    for (const status of [400, 401, 404]) {
      assert.equal((await browser.fetch(`/answer/${status}`)).status, status)
      assert.equal((await browser.fetch('/answer/500')).status, 500)
      assert.deepEqual(await seen(browser), { user: null, status: String(status) })
    }
  }),

  one('a handler that throws saves nothing', async ({ serve, memory }) => {
    const { browser, fetch } = await serve({
      throw({ session }) {
        session.set('a', '1')
        throw new Error('thrown by the handler')
      },
    })
    const response = await fetch('/throw')
    assert.equal(response.status, 500)
    assert.deepEqual(cookiesOf(response), [])
    assert.equal(memory.size, 0)
    await browser.fetch('/visit')
    assert.deepEqual(cookiesOf(await browser.fetch('/throw')), [])
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
  }),

  one('destroy holds, whatever is thrown after it', async ({ serve, memory }) => {
    const { browser, fetch, header } = await serve({
      async throw({ session }) {
        await session.destroy()
        throw new Error('thrown by the handler')
      },
    })
    await browser.fetch('/sign-in')
    const old = header()
    assert.equal((await browser.fetch('/throw')).status, 500)
    assert.deepEqual(await seen(browser), { user: null })
    assert.deepEqual(await seenWith(fetch, old), { user: null })
    assert.equal(memory.size, 0)
  }),

  one('a rotation or sign-in before a throw never costs the visitor the session', async ({ serve }) => {
    const { browser } = await serve({
      rotate({ session }) {
        session.rotate()
        throw new Error('thrown by the handler')
      },
      'fail-sign-in'({ session }) {
        session.signIn('ada')
        throw new Error('thrown by the handler')
      },
    })
    await browser.fetch('/visit')
    for (const path of ['/rotate', '/fail-sign-in']) {
      assert.equal((await browser.fetch(path)).status, 500)
      assert.deepEqual(await seen(browser), { user: null, visits: 1 }, path)
    }
  }),

  one('a sign-in whose answer is an error rotates the id and signs nobody in', async ({ serve, memory }) => {
    const { browser, fetch, header } = await serve({
      refuse({ session }) {
        session.set('a', '1')
        session.signIn('ada')
        return { status: 500 }
      },
    })
    assert.deepEqual(cookiesOf(await fetch('/refuse')), [])
    await browser.fetch('/visit')
    const old = header()
    onlyCookie(await browser.fetch('/refuse'))
    assert.notEqual(header(), old)
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    assert.deepEqual(await seenWith(fetch, old), { user: null })
    assert.equal(memory.size, 1)
  }),

  one('what cannot be saved is answered by 500, and sets nothing', async ({ serve, memory }) => {
    const { browser, fetch } = await serve({
      large({ session }) {
        session.set('large', 'x'.repeat(20 * 1024 * 1024))
      },
      nested({ session }) {
        const list: unknown[] = []
        session.set('list', list)
        list.push(1n)
      },
    })
    await browser.fetch('/visit')
    for (const path of ['/large', '/nested'])
      for (const send of [fetch, browser.fetch]) {
        const response = await send(path)
        assert.equal(response.status, 500)
        assert.deepEqual(cookiesOf(response), [])
      }
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    assert.equal(memory.size, 1)
  }),

  // a store that fails

  one(
    'a store that cannot give the session answers 503, and nobody is signed out',
    async ({ serve, store }) => {
      let ran = 0
      const { browser } = await serve({ run: () => void ran++ })
      await browser.fetch('/sign-in')
      store.fail('load')
      const response = await browser.fetch('/run')
      assert.equal(response.status, 503)
      assert.deepEqual(response.headers.getSetCookie(), [])
      assert.equal(ran, 0)
      assert.equal((await browser.fetch('/run', withCookie('other=1'))).status, 200)
      store.heal()
      assert.deepEqual(await seen(browser), { user: 'ada' })
    },
  ),

  one('a store that hangs while opening answers 503 after storeTimeout', async ({ serve, store, clock }) => {
    const { browser } = await serve({}, { storeTimeout: 2 })
    await browser.fetch('/sign-in')
    store.hang('load')
    const asked = nextCall(store, 'load')
    const answer = browser.fetch('/')
    await asked
    await clock.advance(3000)
    assert.equal((await answer).status, 503)
    store.heal()
    assert.deepEqual(await seen(browser), { user: 'ada' })
  }),

  one(
    'a store that cannot keep the session answers 503, and takes the handler’s answer back',
    async (stage) => {
      const { serve, store, memory } = stage
      const { browser, fetch } = await serve({
        write: ({ session }) => {
          session.set('a', '1')
          return { headers: [...OWN_HEADERS], body: 'all is well' }
        },
        stream: ({ session }) => {
          session.set('a', '1')
          return { headers: [...OWN_HEADERS], body: pieces('all', ' is', ' well') }
        },
        'sign-in-there': ({ session }) => {
          session.signIn('ada')
          return { headers: [...OWN_HEADERS], body: 'all is well' }
        },
      })
      await browser.fetch('/visit')
      store.fail('create')
      store.fail('replace')
      for (const path of ['/write', '/stream', '/sign-in-there'])
        for (const send of [fetch, browser.fetch]) {
          const response = await send(path)
          assert.equal(response.status, 503)
          assert.deepEqual(response.headers.getSetCookie(), [])
          assert.equal(response.headers.get('x-handler'), null)
          assert.equal(response.headers.get('content-language'), null)
          assert.equal(response.headers.get('cache-control'), 'no-store')
          assert.doesNotMatch(await response.text(), /all|is|well/)
        }
      store.heal()
      assert.deepEqual(await seen(browser), { user: null, visits: 1 })
      assert.equal(memory.size, 1)
    },
  ),

  one(
    'a store that hangs while committing answers 503 after storeTimeout',
    async ({ serve, store, clock }) => {
      const { browser, fetch } = await serve({}, { storeTimeout: 2 })
      await browser.fetch('/visit')
      for (const [operation, send] of [
        ['create', fetch],
        ['replace', browser.fetch],
      ] as const) {
        store.hang(operation)
        const asked = nextCall(store, operation)
        const answer = send('/set/a/1')
        await asked
        await clock.advance(3000)
        const response = await answer
        assert.equal(response.status, 503)
        assert.deepEqual(response.headers.getSetCookie(), [])
        store.heal()
        assert.equal((await send('/')).status, 200)
      }
      assert.equal(await browser.fetch('/visit').then((response) => response.text()), '2')
    },
  ),

  one(
    'a sign-out that the store did not confirm is an error, and can be tried again',
    async ({ serve, store }) => {
      const { browser } = await serve()
      await browser.fetch('/sign-in')
      store.fail('end')
      const response = await browser.fetch('/sign-out')
      assert.ok(response.status >= 500)
      assert.deepEqual(cookiesOf(response), [])
      store.heal()
      assert.deepEqual(await seen(browser), { user: 'ada' })
      onlyCookie(await browser.fetch('/sign-out'))
      assert.equal(browser.jar.size, 0)
    },
  ),

  one('a touch that fails is no reason to fail the request', async ({ serve, store, clock }) => {
    const { browser } = await serve()
    await browser.fetch('/visit')
    await clock.advance(5 * MINUTE)
    store.fail('touch')
    const asked = nextCall(store, 'touch')
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    await asked
  }),

  // requests at the same time

  one('parallel requests that set different keys all keep theirs', async ({ serve }) => {
    const { browser } = await serve()
    await browser.fetch('/set/first/1')
    const keys = Array.from({ length: 50 }, (_, i) => `key${i}`)
    await Promise.all(keys.map((key) => browser.fetch(`/set/${key}/1`)))
    assert.deepEqual(await seen(browser), {
      user: null,
      first: '1',
      ...Object.fromEntries(keys.map((key) => [key, '1'])),
    })
  }),

  one('a hundred parallel increments make a hundred', async ({ serve }) => {
    const { browser } = await serve()
    await browser.fetch('/set/first/1')
    await Promise.all(Array.from({ length: 100 }, () => browser.fetch('/visit')))
    assert.deepEqual(await seen(browser), { user: null, first: '1', visits: 100 })
  }),

  one('parallel requests of different visitors do not meet', async ({ serve }) => {
    const { fetch } = await serve({
      async name({ session }, name) {
        session.set('name', name)
        await nextTurn()
        return { body: String(Context.current()?.session.get('name')) }
      },
    })
    const names = Array.from({ length: 20 }, (_, i) => `visitor ${i}`)
    await Promise.all(
      names.map(async (_, name) => {
        const response = await fetch(`/name/${name}`)
        assert.equal(await response.text(), String(name))
        assert.deepEqual(await seenWith(fetch, pairOf(onlyCookie(response))), {
          user: null,
          name: String(name),
        })
      }),
    )
  }),

  one('a request under way brings no session back, and sets no cookie', async ({ serve, memory }) => {
    for (const end of ['/sign-out', '/rotate']) {
      const gate = new Gate()
      const { browser, fetch, header } = await serve({
        async slow({ session }) {
          session.get('visits')
          await gate.pass()
          session.set('late', '1')
        },
        rotate: ({ session }) => session.rotate(),
      })
      await browser.fetch('/visit')
      const old = header()
      const late = browser.fetch('/slow')
      await gate.reached(1)
      await fetch(end, withCookie(old))
      gate.open()
      const response = await late
      assert.equal(response.status, 200)
      assert.deepEqual(cookiesOf(response), [])
      assert.deepEqual(await seenWith(fetch, old), { user: null })
      assert.equal(memory.size, end === '/rotate' ? 1 : 0)
    }
  }),

  one('no answer to the old cookie undoes a sign-in, whenever it arrives', async ({ serve, clock }) => {
    const gate = new Gate()
    const { browser, fetch, header } = await serve({
      async slow({ session }, does) {
        session.get('visits')
        await gate.pass()
        if (does === 'write') session.set('late', '1')
        if (does === 'rotate') session.rotate()
        if (does === 'sign-out') await session.destroy()
        if (does === 'throw') throw new Error('thrown by the handler')
      },
    })
    await browser.fetch('/visit')
    const old = header()
    // So that even those who only read have something to write: that the session is active.
    await clock.advance(5 * MINUTE)
    const early = ['read', 'write', 'rotate', 'sign-out', 'throw'].map((does) =>
      fetch(`/slow/${does}`, withCookie(old)),
    )
    await gate.reached(early.length)
    const signIn = await fetch('/sign-in', withCookie(old))
    const signedIn = pairOf(onlyCookie(signIn))
    const late = ['/', '/visit', '/sign-out', '/set/a/1', '/plain'].map((path) =>
      fetch(path, withCookie(old)),
    )
    await Promise.all(late)
    gate.open()
    const answers = [signIn, ...(await Promise.all([...early, ...late]))].map(({ headers }) =>
      headers.getSetCookie(),
    )

    const random = seeded(23)
    for (let order = 0; order < 200; order++) {
      const jar = new CookieJar({ clock })
      jar.store([`${old}; Max-Age=3600; Path=/; Secure`], ORIGIN)
      for (const lines of shuffle([...answers], random)) jar.store(lines, ORIGIN)
      assert.equal(jar.header(ORIGIN), signedIn)
    }
    assert.deepEqual(await seenWith(fetch, signedIn), { user: 'ada', visits: 1 })
  }),

  // answers of every kind

  one('HEAD sets the cookie as GET does, and has no body', async ({ serve }) => {
    const { browser } = await serve()
    const response = await browser.fetch('/visit', { method: 'HEAD' })
    assert.equal(response.status, 200)
    onlyCookie(response)
    assert.equal(await response.text(), '')
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
  }),

  one('answers without a body carry the cookie too', async ({ serve }) => {
    const { fetch } = await serve({
      answer({ session }, status) {
        session.set('a', '1')
        return { status: Number(status), headers: [['ETag', '"1"']], body: null }
      },
    })
    for (const status of [204, 304]) {
      const response = await fetch(`/answer/${status}`)
      assert.equal(response.status, status)
      assert.equal(response.headers.get('etag'), '"1"')
      assert.equal(await response.text(), '')
      assert.deepEqual(await seenWith(fetch, pairOf(onlyCookie(response))), { user: null, a: '1' })
    }
  }),

  one('a redirect does not outrun its session, and a flash message is shown once', async ({ serve }) => {
    const { browser } = await serve({
      order({ session }) {
        session.flash('notice', 'Thank you')
        return { status: 303, headers: [['Location', '/notice']] }
      },
      notice: ({ session }) => ({ body: String(session.get('notice')) }),
    })
    const response = await browser.fetch('/order', { method: 'POST' })
    assert.equal(response.status, 303)
    assert.equal(response.headers.get('location'), '/notice')
    onlyCookie(response)
    assert.equal(await (await browser.fetch('/notice')).text(), 'Thank you')
    assert.equal(await (await browser.fetch('/notice')).text(), 'undefined')
    const followed = await browser.fetch('/order', { method: 'POST', redirect: 'follow' })
    assert.equal(await followed.text(), 'Thank you')
  }),

  one('nothing of the answer leaves before the session is saved', async ({ serve, store }) => {
    const { browser } = await serve({
      stream({ session }) {
        session.set('a', '1')
        return { body: pieces('one', 'two') }
      },
    })
    for (const path of ['/visit', '/stream']) {
      const gate = new Gate()
      store.before = (operation) => (operation === 'create' ? gate.pass() : undefined)
      let hasAnswered = false
      const answer = browser.fetch(path).then((response) => {
        hasAnswered = true
        return response
      })
      await gate.reached(1)
      for (let turn = 0; turn < 20; turn++) await nextTurn()
      assert.equal(hasAnswered, false)
      gate.open()
      onlyCookie(await answer)
      await browser.fetch('/sign-out')
    }
  }),

  one('a stream passes in order, as it comes, its session saved before it begins', async ({ serve }) => {
    const gate = new Gate()
    const { browser } = await serve({
      stream({ session }) {
        session.set('a', '1')
        return { body: stream() }
      },
    })
    async function* stream(): AsyncIterable<string> {
      yield 'one,'
      await gate.pass()
      yield 'two,'
      yield 'three'
    }
    const response = await browser.fetch('/stream')
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    assert.equal((await reader.read()).value, 'one,')
    assert.deepEqual(await seen(browser), { user: null, a: '1' })
    gate.open()
    let rest = ''
    for (let read = await reader.read(); !read.done; read = await reader.read()) rest += read.value
    assert.equal(rest, 'two,three')
  }),

  one(
    'while the answer streams, an existing session can be saved, and a new one refuses',
    async ({ serve }) => {
      let gate = new Gate()
      const { browser } = await serve({ late: ({ session }) => ({ body: stream(session) }) })
      async function* stream(session: Session): AsyncIterable<string> {
        yield 'begun '
        await gate.pass()
        try {
          session.set('late', '1')
          yield await session.save()
        } catch (error) {
          yield error instanceof SessionError ? error.code : String(error)
        }
      }
      const late = async (): Promise<string> => {
        gate = new Gate()
        const response = await browser.fetch('/late')
        assert.deepEqual(cookiesOf(response), [])
        gate.open()
        return response.text()
      }
      assert.equal(await late(), 'begun ERR_SESSION_HEADERS_SENT')
      await browser.fetch('/visit')
      assert.equal(await late(), 'begun saved')
      assert.deepEqual(await seen(browser), { user: null, visits: 1, late: '1' })
    },
  ),

  // the context

  one('the session that the request holds at the end is the one committed', async ({ serve, memory }) => {
    const { browser, header } = await serve({
      replace(exchange) {
        exchange.session.set('dropped', '1')
        exchange.session = new Session()
        exchange.session.set('kept', '1')
      },
    })
    onlyCookie(await browser.fetch('/replace'))
    assert.deepEqual(await seen(browser), { user: null, kept: '1' })
    assert.equal(memory.size, 1)
    const first = header()
    onlyCookie(await browser.fetch('/replace'))
    assert.notEqual(header(), first)
    assert.deepEqual(await seen(browser), { user: null, kept: '1' })
  }),

  one(
    'the context is found below the handler, and its callbacks share the session with later pages',
    async (stage) => {
      let callback!: () => Promise<unknown>
      const { browser } = await stage.serve({
        async subscribe({ session }) {
          await nextTurn()
          const context = Context.current()!
          assert.equal(context.session, session)
          callback = context.callback(({ session }) => session.update('visits', (n) => Number(n ?? 0) + 1))
        },
      })
      await browser.fetch('/visit')
      assert.equal((await browser.fetch('/subscribe')).status, 200)
      assert.equal(await callback(), 2)
      assert.equal(await (await browser.fetch('/visit')).text(), '3')
      assert.equal(await callback(), 4)
    },
  ),

  // time

  one('a session ends when it was idle too long, and not before', async ({ serve, clock }) => {
    const { browser, fetch, header } = await serve()
    await browser.fetch('/visit')
    const old = header()
    // An hour, and the minute for which activity may go unnoted.
    await clock.advance(61 * MINUTE - 1)
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    await clock.advance(61 * MINUTE)
    const response = await fetch('/', withCookie(old))
    assert.deepEqual(await response.json(), { user: null })
    assert.deepEqual(cookiesOf(response), [])
    assert.notEqual(pairOf(onlyCookie(await browser.fetch('/visit'))), old)
  }),

  one(
    'a session ends after a day, however active, and no cookie is set on the way',
    async ({ serve, clock }) => {
      const { browser, fetch, header } = await serve()
      await browser.fetch('/visit')
      const old = header()
      const end = clock.now() + 24 * HOUR
      while (clock.now() < end - 1) {
        await clock.advance(Math.min(50 * MINUTE, end - 1 - clock.now()))
        const response = await browser.fetch('/')
        assert.deepEqual(cookiesOf(response), [])
        assert.deepEqual(await response.json(), { user: null, visits: 1 })
      }
      await clock.advance(1)
      assert.equal(browser.jar.size, 0)
      assert.deepEqual(await seenWith(fetch, old), { user: null })
    },
  ),

  one('setExpiry gives session and cookie a lifetime of their own', async ({ serve, clock }) => {
    const { browser, fetch, header } = await serve({
      expire({ session }, seconds) {
        session.setExpiry(seconds === 'null' ? null : Number(seconds))
      },
    })
    await browser.fetch('/visit')
    const pair = header()
    assert.match(onlyCookie(await browser.fetch('/expire/600')), new RegExp(`^${pair}; Max-Age=600;`))
    await clock.advance(5 * MINUTE)
    assert.match(onlyCookie(await browser.fetch('/expire/null')), new RegExp(`^${pair}; Max-Age=86100;`))
    await clock.advance(5 * MINUTE)
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    await browser.fetch('/expire/600')
    await clock.advance(10 * MINUTE - 1)
    assert.deepEqual(await seen(browser), { user: null, visits: 1 })
    await clock.advance(1)
    assert.equal(browser.jar.size, 0)
    assert.deepEqual(await seenWith(fetch, pair), { user: null })
  }),
]

/** What a test of the contract works with. */
interface Stage {
  readonly clock: ManualClock
  readonly memory: MemorySessionStore
  /** `memory`, with faults. */
  readonly store: FaultyStore
  /** Starts a server on the store. @param origin where its browser believes to be */
  readonly serve: (routes?: Routes, options?: SessionsOptions, origin?: string) => Promise<Server>
}

interface Server {
  readonly sessions: Sessions
  readonly browser: Browser
  /** The Cookie header that the browser would send. */
  readonly header: () => string
  /** Sends a request past the browser. */
  readonly fetch: AdapterServer['fetch']
}

/** Handlers by the first segment of the path; the others are their arguments. */
type Routes = Readonly<
  Record<string, (exchange: Exchange, ...args: string[]) => Answer | void | Promise<Answer | void>>
>

/** What every server of the contract can do. */
const ROUTES: Routes = {
  '': ({ session }) => ({ body: JSON.stringify({ user: session.userId, ...Object.fromEntries(session) }) }),
  plain: () => ({ body: 'plain' }),
  set: ({ session }, key, value) => void session.set(key, value),
  visit: ({ session }) => ({ body: String(session.update('visits', (n) => Number(n ?? 0) + 1)) }),
  'sign-in': ({ session }, user = 'ada') => session.signIn(user),
  'sign-out': ({ session }) => session.destroy(),
}

function one(name: string, test: (stage: Stage) => Promise<void>): AdapterTest {
  return {
    name,
    async run(harness) {
      const clock = new ManualClock()
      const memory = new MemorySessionStore({ clock })
      const store = new FaultyStore(memory, { clock })
      const servers: AdapterServer[] = []
      const serve: Stage['serve'] = async (routes = {}, options = {}, origin = ORIGIN) => {
        const sessions = createSessions({ store, clock, ...options })
        const server = await harness.serve(sessions, handlerOf({ ...ROUTES, ...routes }))
        servers.push(server)
        const fetch: Server['fetch'] = (path, init) => server.fetch(path, init)
        const browser = createBrowser((url, init) => fetch(url.slice(origin.length), init), { origin, clock })
        return { sessions, browser, fetch, header: () => browser.jar.header(origin) ?? '' }
      }
      try {
        await test({ clock, memory, store, serve })
      } finally {
        store.heal()
        for (const server of servers) await server.close()
        await memory.close()
      }
    },
  }
}

/** A handler for all routes; `/app` in front of them changes nothing. */
function handlerOf(routes: Routes): ExchangeHandler {
  return async (exchange) => {
    const [route, ...args] = exchange.path.replace(/^(?:\/app)?\//, '').split('/')
    const run = routes[route!]
    return run === undefined ? { status: 404 } : ((await run(exchange, ...args)) ?? {})
  }
}

const ORIGIN = 'http://localhost'
const NAME = '__Host-session'
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const SECRET = 'a secret of at least thirty-two bytes'

/** A token of the right form that was never given out. */
const UNKNOWN = cookie('A'.repeat(43))

const OWN_HEADERS = [
  ['X-Handler', 'was here'],
  ['Content-Language', 'en'],
  ['Cache-Control', 'public, max-age=60'],
  ['Set-Cookie', 'theme=dark'],
] as const

function cookie(value: string): string {
  return `${NAME}=${value}`
}

function withCookie(header: string): RequestInit {
  return header === '' ? {} : { headers: { Cookie: header } }
}

/** The Set-Cookie lines of the session. */
function cookiesOf(response: Response): string[] {
  return response.headers.getSetCookie().filter((line) => line.startsWith(`${NAME}=`))
}

function onlyCookie(response: Response): string {
  const lines = cookiesOf(response)
  assert.equal(lines.length, 1, `Set-Cookie: ${lines.join(', ') || 'none'}`)
  return lines[0]!
}

/** What a Set-Cookie line makes the browser send. */
function pairOf(line: string): string {
  return line.slice(0, line.indexOf(';'))
}

/** Who the visitor is, and what the session holds. */
async function seen(browser: Browser, path = '/'): Promise<unknown> {
  return (await browser.fetch(path)).json()
}

async function seenWith(fetch: Server['fetch'], header: string): Promise<unknown> {
  return (await fetch('/', withCookie(header))).json()
}

/** Resolves when the store is next asked for `operation`. */
function nextCall(store: FaultyStore, operation: StoreOperation): Promise<void> {
  return new Promise((resolve) => {
    store.before = (called) => {
      if (called === operation) resolve()
    }
  })
}

async function* pieces(...texts: string[]): AsyncIterable<string> {
  yield* texts
}

/** Holds up those who come to it until it is opened, and tells when so many have come. */
class Gate {
  #waiting = 0
  #tell: () => void = () => {}
  readonly #opened = Promise.withResolvers<void>()

  async pass(): Promise<void> {
    this.#waiting++
    this.#tell()
    await this.#opened.promise
  }

  reached(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#tell = () => {
        if (this.#waiting >= count) resolve()
      }
      this.#tell()
    })
  }

  open(): void {
    this.#opened.resolve()
  }
}
