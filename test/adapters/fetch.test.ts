import { subscribe, unsubscribe } from 'node:diagnostics_channel'

import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { getSession, sessionMiddleware } from '../../src/adapters/fetch.ts'
import type { SessionsOptions } from '../../src/index.ts'
import { Context, createSessions, MemorySessionStore, onCommit } from '../../src/index.ts'
import type { AdapterHarness } from '../../src/testing/adapter-contract.ts'
import { createBrowser } from '../../src/testing/cookie-jar.ts'
import { FaultyStore } from '../../src/testing/faulty-store.ts'
import { contentOf, runAdapterContract, streamOf } from './run-adapter-contract.ts'

const harness: AdapterHarness = {
  serve(sessions, handler) {
    const handle = sessionMiddleware(sessions)(async ({ method, url }, context) => {
      const { pathname: path } = new URL(url)
      const exchange = {
        method,
        path,
        get session() {
          return context.session
        },
        set session(session) {
          context.session = session
        },
      }
      const { status = 200, headers = [], body } = await handler(exchange)
      return new Response(contentOf(body), { status, headers: headers.map(([name, value]) => [name, value]) })
    })
    return {
      async fetch(path, init) {
        const request = new Request(`http://localhost${path}`, init)
        // The runtime's part: a rejection is answered by 500, and HEAD loses the body.
        const response = await handle(request).catch(() => new Response(null, { status: 500 }))
        return request.method === 'HEAD' ? new Response(null, response) : response
      },
      close: () => {},
    }
  },
}

runAdapterContract('fetch', harness)

const URL_ = 'https://app.example.com/'
const OURS = /^__Host-session=/

function serve(options: SessionsOptions = {}) {
  const store = new FaultyStore(new MemorySessionStore())
  const sessions = createSessions<{ visits?: number; name?: string; list?: unknown[] }>({ store, ...options })
  return { store, sessions, withSession: sessionMiddleware(sessions) }
}

/** The lines of Set-Cookie that are the session's. */
function ours(response: Response): string[] {
  return response.headers.getSetCookie().filter((line) => OURS.test(line))
}

describe('responses', () => {
  test('one that gets no cookie is handed on itself', async () => {
    const { withSession } = serve()
    const response = new Response('text')
    const handle = withSession((_, { session }) => {
      session.get('visits')
      return response
    })
    expect(await handle(new Request(URL_))).toBe(response)
    expect(response.headers.get('vary')).toBe('Cookie')
  })

  // Under @hono/node-server both are made when they are asked for, which takes longer than all else here.
  test('one to a visitor whose session nobody uses is asked for neither headers nor stream', async () => {
    const { withSession } = serve()
    const response = new Response('text')
    const asked = (['headers', 'body'] as const).map((part) => vi.spyOn(response, part, 'get'))
    expect(await withSession(() => response)(new Request(URL_))).toBe(response)
    for (const part of asked) expect(part).not.toHaveBeenCalled()
  })

  test('one that answers several visitors carries the cookie of none to another', async () => {
    const { withSession } = serve()
    const shared = new Response(null, { status: 204 })
    const handle = withSession(({ url }, { session }) => {
      if (url.endsWith('write')) session.set('visits', 1)
      return shared
    })
    const [one, two] = [await handle(new Request(`${URL_}write`)), await handle(new Request(`${URL_}write`))]
    expect(ours(one)).toHaveLength(1)
    expect(ours(two)).toHaveLength(1)
    expect(ours(one)).not.toEqual(ours(two))
    expect(ours(await handle(new Request(URL_)))).toEqual([])
  })

  test('a redirect, whose headers cannot be changed, is copied', async () => {
    const { withSession } = serve()
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return Response.redirect(`${URL_}next`, 307)
    })
    const response = await handle(new Request(URL_))
    expect(response.status).toBe(307)
    expect(response.headers.get('location')).toBe(`${URL_}next`)
    expect(ours(response)).toHaveLength(1)
  })

  test('an immutable one that gets no header is handed on itself', async () => {
    const { withSession } = serve()
    const response = Response.redirect(URL_, 302)
    expect(await withSession(() => response)(new Request(URL_))).toBe(response)
  })

  test('a fetched one is copied with its body unread, its status text and its own cookies', async () => {
    const { withSession } = serve()
    const body = streamOf(['one ', 'two'])
    const fetched = sealed(
      new Response(body, {
        status: 203,
        statusText: 'Transformed',
        headers: [
          ['Set-Cookie', 'a=1'],
          ['Set-Cookie', 'b=2'],
          ['Vary', 'Accept'],
        ],
      }),
    )
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return fetched
    })
    const response = await handle(new Request(URL_))
    expect(response).not.toBe(fetched)
    expect(response.body).toBe(body)
    expect(response.status).toBe(203)
    expect(response.statusText).toBe('Transformed')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2', expect.stringMatching(OURS)])
    expect(response.headers.get('vary')).toBe('Accept, Cookie')
    expect(await response.text()).toBe('one two')
  })

  test.each([204, 304])('an immutable %i, which can have no body, is copied', async (status) => {
    const { withSession } = serve()
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return sealed(new Response(null, { status }))
    })
    const response = await handle(new Request(URL_))
    expect(response.status).toBe(status)
    expect(response.body).toBeNull()
    expect(ours(response)).toHaveLength(1)
  })

  test('a network error saves nothing and rotates nothing, and is handed on', async () => {
    const { withSession, store, sessions } = serve()
    const { cookie } = await visitor(sessions)
    const error = Response.error()
    const handle = withSession(({ url }, { session }) => {
      session.set('visits', 2)
      if (url.endsWith('rotate')) session.rotate()
      return error
    })
    expect(await handle(new Request(URL_))).toBe(error)
    for (const path of ['', 'rotate'])
      expect(await handle(new Request(URL_ + path, { headers: { cookie } }))).toBe(error)
    expect(writesOf(store)).toEqual(['create'])
  })

  test('a handshake that takes headers, and cannot be copied, gets them on itself', async () => {
    const { withSession } = serve()
    const handshake = { status: 101, headers: new Headers() } as Response
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return handshake
    })
    expect(await handle(new Request(URL_))).toBe(handshake)
    expect(ours(handshake)).toHaveLength(1)
  })

  test('a handshake that takes no headers saves what needs no cookie', async () => {
    const { withSession, sessions } = serve()
    const { cookie, reopen } = await visitor(sessions)
    // As Deno makes one: new Response(null, { status: 101 }) throws.
    const handshake = { status: 101, headers: sealed(new Response()).headers } as Response
    const handle = withSession((_, { session }) => {
      session.set('visits', 2)
      return handshake
    })
    expect(await handle(new Request(URL_, { headers: { cookie } }))).toBe(handshake)
    expect(await handle(new Request(URL_))).toBe(handshake)
    expect((await reopen()).get('visits')).toBe(2)
  })
})

describe('what is thrown', () => {
  test('a Response counts as one returned, and is thrown on with the headers', async () => {
    const { withSession, sessions } = serve()
    const handle = withSession((_, { session }) => {
      session.signIn('ada')
      throw Response.redirect(`${URL_}home`, 303)
    })
    const [line] = ours(await thrownBy(handle(new Request(URL_))))
    expect((await sessions.open(line!.split(';')[0])).userId).toBe('ada')
  })

  test('a Response of 500 saves nothing', async () => {
    const { withSession, store } = serve()
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      throw new Response('no', { status: 500 })
    })
    expect(ours(await thrownBy(handle(new Request(URL_))))).toEqual([])
    expect(store.calls).toEqual([])
  })

  test('a Response whose session the store cannot keep is replaced by a 503, thrown too', async () => {
    const { withSession, store } = serve()
    store.fail('create')
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      throw new Response('text', { headers: { 'Set-Cookie': 'a=1' } })
    })
    const thrown = await thrownBy(handle(new Request(URL_)))
    expect(thrown.status).toBe(503)
    expect(thrown.headers.getSetCookie()).toEqual([])
  })

  test('an error is thrown on as it is; nothing is rotated that could not be told to the visitor', async () => {
    const { withSession, sessions, store } = serve()
    const { cookie, reopen } = await visitor(sessions)
    const error = new Error('thrown by the handler')
    const handle = withSession(({ url }, { session }) => {
      session.set('visits', 2)
      if (url.endsWith('rotate')) session.rotate()
      else session.signIn('ada')
      throw error
    })
    for (const path of ['rotate', 'sign-in'])
      await expect(handle(new Request(URL_ + path, { headers: { cookie } }))).rejects.toBe(error)
    expect(writesOf(store)).toEqual(['create'])
    const session = await reopen()
    expect(session.userId).toBeNull()
    expect(session.get('visits')).toBe(1)
  })

  test('an error says in the decision record what became of the session', async () => {
    const outcomes: string[] = []
    const { withSession, sessions } = serve()
    const { cookie } = await visitor(sessions)
    onTestFinished(onCommit(({ outcome }) => outcomes.push(outcome)))
    const handle = withSession(({ url }, { session }) => {
      if (url.endsWith('sign-in')) session.signIn('ada')
      if (url.endsWith('rotate')) session.rotate()
      if (url.endsWith('set')) session.set('visits', 2)
      throw new Error('thrown by the handler')
    })
    for (const path of ['sign-in', 'rotate', 'set', 'nothing'])
      for (const headers of [{ cookie }, {}])
        await expect(handle(new Request(URL_ + path, { headers }))).rejects.toThrow('thrown by the handler')
    const each = (outcome: string): string[] => [outcome, outcome]
    expect(outcomes).toEqual([
      ...each('discarded'),
      ...each('discarded'),
      ...each('discarded'),
      ...each('unchanged'),
    ])
  })

  test('an error leaves no record behind of a new visitor, cookie.always or not', async () => {
    const { withSession, store } = serve({ cookie: { always: true } })
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      throw new Error('thrown by the handler')
    })
    await expect(handle(new Request(URL_))).rejects.toThrow('thrown by the handler')
    expect(store.calls).toEqual([])
  })

  test('after an error, too, the session takes nothing that needs a cookie', async () => {
    const { withSession } = serve()
    let late!: () => void
    const handle = withSession((_, { session }) => {
      late = () => void session.set('visits', 1)
      throw new Error('thrown by the handler')
    })
    await expect(handle(new Request(URL_))).rejects.toThrow('thrown by the handler')
    expect(late).toThrow(expect.objectContaining({ code: 'ERR_SESSION_HEADERS_SENT' }))
  })

  test('a value that cannot be saved rejects, and its response is cancelled', async () => {
    const { withSession } = serve()
    const cancel = vi.fn()
    const handle = withSession((_, { session }) => {
      const list: unknown[] = []
      session.set('list', list)
      list.push(1n)
      return new Response(new ReadableStream({ cancel }))
    })
    await expect(handle(new Request(URL_))).rejects.toMatchObject({
      code: 'ERR_SESSION_VALUE',
      path: 'list[0]',
    })
    expect(cancel).toHaveBeenCalledOnce()
  })
})

describe('a store that fails', () => {
  test('at opening answers 503 in its own words, without asking the handler', async () => {
    const { withSession, sessions, store } = serve()
    const { cookie } = await visitor(sessions)
    store.fail('load')
    const handler = vi.fn(() => new Response())
    const response = await withSession(handler)(new Request(URL_, { headers: { cookie } }))
    expect(response.status).toBe(503)
    expect(Object.fromEntries(response.headers)).toEqual({
      'cache-control': 'no-store',
      'content-type': 'text/plain; charset=utf-8',
      'retry-after': '1',
    })
    expect(await response.text()).toBe('Service Unavailable')
    expect(handler).not.toHaveBeenCalled()
  })

  test('at committing cancels the stream that nobody will read', async () => {
    const { withSession, store } = serve()
    store.fail('create')
    const cancel = vi.fn()
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return new Response(new ReadableStream({ cancel }))
    })
    expect((await handle(new Request(URL_))).status).toBe(503)
    expect(cancel).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
  })

  test('at committing does not mind a stream that will not be cancelled', async () => {
    const { withSession, store } = serve()
    store.fail('create')
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      const response = new Response('text')
      response.body!.getReader()
      return response
    })
    expect((await handle(new Request(URL_))).status).toBe(503)
  })
})

describe('what the handler gets', () => {
  test('the request, the context, and what the runtime passes after the request', async () => {
    const { withSession, sessions } = serve()
    const request = new Request(URL_)
    const handle = withSession((given, context, env: { KEY: string }, ctx: { waitUntil(): void }) => {
      expect(given).toBe(request)
      expect(context).toBeInstanceOf(Context)
      expect(context.request).toBe(request)
      expect(Context.current()).toBe(context)
      expect(getSession(request)).toBe(context.session)
      expect(getSession(request, sessions)).toBe(context.session)
      expect(getSession(context)).toBe(context.session)
      ctx.waitUntil()
      return new Response(env.KEY)
    })
    const waitUntil = vi.fn()
    expect(await (await handle(request, { KEY: 'value' }, { waitUntil })).text()).toBe('value')
    expect(waitUntil).toHaveBeenCalledOnce()
  })

  test('of two managers, each its own session', async () => {
    const { withSession, sessions } = serve()
    const admins = createSessions<{ role?: string }>({ cookie: { name: '__Host-admin' } })
    const handle = withSession(
      sessionMiddleware(admins)((request, { session }) => {
        session.set('role', 'editor')
        getSession(request, sessions).set('name', 'Ada')
        expect(getSession(request)).toBe(session)
        return new Response()
      }),
    )
    const response = await handle(new Request(URL_))
    const cookies = response.headers.getSetCookie().map((line) => line.split(';')[0])
    expect((await admins.open(cookies.join('; '))).get('role')).toBe('editor')
    expect((await sessions.open(cookies.join('; '))).get('name')).toBe('Ada')
  })

  test('nothing without the middleware, and an error that says so', () => {
    expect(() => getSession(new Request(URL_))).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_NO_MIDDLEWARE' }),
    )
  })

  test('no session for a request that is skipped: nothing is read or set', async () => {
    const { sessions, store } = serve()
    const { cookie } = await visitor(sessions)
    store.calls.length = 0
    const handle = sessionMiddleware(sessions, { skip: ({ url }) => url.endsWith('.css') })((
      request,
      context,
    ) => {
      for (const ask of [() => context.session, () => getSession(request)])
        expect(ask).toThrow(expect.objectContaining({ code: 'ERR_SESSION_NO_MIDDLEWARE' }))
      return new Response('body {}')
    })
    const response = await handle(new Request(`${URL_}site.css`, { headers: { cookie } }))
    expect(await response.text()).toBe('body {}')
    expect(response.headers.get('vary')).toBeNull()
    expect(store.calls).toEqual([])
  })

  test('a session of its own making, when the middleware is given options, or nothing', async () => {
    const browser = createBrowser((url, init) => handle(new Request(url, init)))
    const handle = sessionMiddleware<{ visits: number }>({ idleTimeout: 60 })(
      (_, { session }) => new Response(String(session.update('visits', (n = 0) => n + 1))),
    )
    await browser.fetch('/')
    expect(await (await browser.fetch('/')).text()).toBe('2')
    const plain = sessionMiddleware()((_, { session }) => {
      session.set('anything', 1)
      return new Response()
    })
    expect(ours(await plain(new Request(URL_)))).toHaveLength(1)
  })
})

describe('a Secure cookie', () => {
  const write = (options: SessionsOptions) => {
    const { withSession, store } = serve(options)
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return new Response()
    })
    return { handle, store }
  }
  const https = { 'X-Forwarded-Proto': 'https' }

  test('is withheld over plain http, with nothing saved, and said once', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    onTestFinished(() => warn.mockRestore())
    const events: unknown[] = []
    const listen = (event: unknown): void => void events.push(event)
    subscribe('holdfast:event', listen)
    onTestFinished(() => void unsubscribe('holdfast:event', listen))

    const { handle, store } = write({})
    for (const headers of [{}, https]) {
      const response = await handle(new Request('http://app.example.com/', { headers }))
      expect(response.status).toBe(200)
      expect(ours(response)).toEqual([])
    }
    expect(store.calls).toEqual([])
    expect(events).toEqual([
      { kind: 'withheld', remedy: expect.stringContaining('trustProxy') },
      { kind: 'withheld', remedy: expect.stringContaining('trustProxy') },
    ])
    expect(warn).toHaveBeenCalledOnce()
  })

  test('is set over https, on the machine itself, and behind a proxy that is trusted', async () => {
    for (const url of [URL_, 'http://localhost:3000/', 'http://127.0.0.1/'])
      expect(ours(await write({}).handle(new Request(url)))).toHaveLength(1)
    const { handle } = write({ trustProxy: true })
    expect(ours(await handle(new Request('http://app.example.com/', { headers: https })))).toHaveLength(1)
  })
})

async function thrownBy(answer: Promise<Response>): Promise<Response> {
  const thrown = await answer.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(thrown).toBeInstanceOf(Response)
  return thrown as Response
}

/** A response as a runtime hands it out, its headers immutable. */
function sealed(response: Response): Response {
  const refuse = (): never => {
    throw new TypeError('immutable')
  }
  Object.assign(response.headers, { append: refuse, set: refuse, delete: refuse })
  return response
}

/** A visitor with a session. */
async function visitor(sessions: ReturnType<typeof serve>['sessions']) {
  const session = await sessions.open(null)
  session.set('visits', 1)
  const { headers } = await sessions.commit(session)
  const cookie = headers[0]![1].split(';')[0]!
  return { cookie, reopen: () => sessions.open(cookie) }
}

function writesOf(store: FaultyStore): string[] {
  return store.calls.map(([operation]) => operation).filter((operation) => operation !== 'load')
}

describe('mounted within itself', () => {
  test('it is the outer session that counts, and one cookie that is sent', async () => {
    const { withSession, store } = serve()
    const inner = withSession((_, { session }) => {
      session.set('name', 'inner')
      return new Response()
    })
    const handle = withSession(async (request, { session }) => {
      session.set('visits', 1)
      const response = await inner(request)
      expect(session.get('name')).toBe('inner')
      return response
    })
    expect(ours(await handle(new Request(URL_)))).toHaveLength(1)
    expect(writesOf(store)).toEqual(['create'])
  })

  test('a request that is handled a second time has a session of its own', async () => {
    const { withSession, store } = serve()
    const handle = withSession((_, { session }) => {
      session.set('visits', 1)
      return new Response()
    })
    const request = new Request(URL_)
    for (let n = 0; n < 2; n++) expect(ours(await handle(request))).toHaveLength(1)
    expect(writesOf(store)).toEqual(['create', 'create'])
  })
})
