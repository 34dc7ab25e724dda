import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { stream } from 'hono/streaming'
import type { StatusCode } from 'hono/utils/http-status'
import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { getSession, sessionMiddleware } from '../../src/adapters/hono.ts'
import type { SessionError, Sessions, SessionsOptions } from '../../src/index.ts'
import { Context, createSessions, MemorySessionStore, onCommit, Session } from '../../src/index.ts'
import type { AdapterHarness, ExchangeHandler } from '../../src/testing/adapter-contract.ts'
import { createBrowser } from '../../src/testing/cookie-jar.ts'
import { FaultyStore } from '../../src/testing/faulty-store.ts'
import { contentOf, runAdapterContract } from './run-adapter-contract.ts'

function appOf(sessions: Sessions, handler: ExchangeHandler) {
  return new Hono()
    .use(sessionMiddleware(sessions))
    .all('*', async (c) => {
      const {
        status = 200,
        headers = [],
        body,
      } = await handler({
        method: c.req.method,
        path: c.req.path,
        get session() {
          return c.var.session
        },
        set session(session) {
          c.set('session', session)
        },
      })
      for (const [name, value] of headers) c.header(name, value, { append: true })
      c.status(status as StatusCode)
      return c.body(contentOf(body) as string)
    })
    .onError((error, c) =>
      error instanceof HTTPException ? error.getResponse() : c.text('Internal Server Error', 500),
    )
}

const inProcess: AdapterHarness = {
  serve(sessions, handler) {
    const app = appOf(sessions, handler)
    return { fetch: async (path, init) => app.request(path, init), close: () => {} }
  },
}

const overNode: AdapterHarness = {
  async serve(sessions, handler) {
    const server = createServer(getRequestListener(appOf(sessions, handler).fetch))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    return {
      fetch: (path, init) => fetch(`http://127.0.0.1:${port}${path}`, { ...init, redirect: 'manual' }),
      async close() {
        server.closeAllConnections()
        await once(server.close(), 'close')
      },
    }
  },
}

runAdapterContract('Hono', inProcess)
runAdapterContract('Hono on @hono/node-server', overNode)

interface AppSession {
  visits?: number
  name?: string
  list?: unknown[]
}

function setUp(options: SessionsOptions = {}) {
  const store = new FaultyStore(new MemorySessionStore())
  const sessions = createSessions<AppSession>({ store, ...options })
  return { store, sessions, app: new Hono().use(sessionMiddleware(sessions)) }
}

/** The session's Set-Cookie lines. */
function ours(response: Response, name = '__Host-session'): string[] {
  return response.headers.getSetCookie().filter((line) => line.startsWith(`${name}=`))
}

/** The Cookie header that an answer's lines lead to. */
function cookiesOf(response: Response): string {
  return response.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')
}

describe('the session', () => {
  test('is c.var.session, and is found by the context, by the raw request and below the handler', async () => {
    const { app, sessions } = setUp()
    app.get('/', (c) => {
      const { session } = c.var
      expect(c.get('session')).toBe(session)
      for (const source of [c, c.req.raw, Context.current()!]) expect(getSession(source)).toBe(session)
      expect(getSession(c, sessions)).toBe(session)
      expect(Context.current()!.request).toBe(c.req.raw)
      session.set('visits', 1)
      return c.text('')
    })
    const response = await app.request('/')
    expect(response.status).toBe(200)
    expect((await sessions.open(cookiesOf(response))).get('visits')).toBe(1)
  })

  test.each(['c.set', 'context'])(
    'assigned by %s, is the one that all see, and the one committed',
    async (way) => {
      const { app, sessions } = setUp()
      app.get('/', (c) => {
        c.var.session.set('name', 'dropped')
        const other = new Session<AppSession>()
        if (way === 'c.set') c.set('session', other)
        else Context.current<AppSession>()!.session = other
        other.set('name', 'kept')
        for (const source of [c, c.req.raw, Context.current()!]) expect(getSession(source)).toBe(other)
        expect(c.var.session).toBe(other)
        return c.text('')
      })
      const response = await app.request('/')
      expect(ours(response)).toHaveLength(1)
      expect((await sessions.open(cookiesOf(response))).get('name')).toBe('kept')
    },
  )

  test('is there for sub-apps, and serves them once where they mount it again', async () => {
    const { app, sessions, store } = setUp()
    app.use((c, next) => {
      c.var.session.set('name', 'Ada')
      return next()
    })
    const sub = new Hono().use(sessionMiddleware(sessions)).get('/page', (c) => {
      c.var.session.set('visits', 1)
      return c.text(String(c.var.session.get('name')))
    })
    app.route('/sub', sub)
    const response = await app.request('/sub/page')
    expect(await response.text()).toBe('Ada')
    expect(ours(response)).toHaveLength(1)
    expect((await sessions.open(cookiesOf(response))).size).toBe(2)
    expect(store.calls.filter(([operation]) => operation === 'create')).toHaveLength(1)
  })

  test('is found below a mounted application, whose request is another', async () => {
    const { app, sessions } = setUp()
    app.mount('/old', () => {
      Context.current<AppSession>()!.session.set('visits', 1)
      return new Response('old')
    })
    const response = await app.request('/old/page')
    expect((await sessions.open(cookiesOf(response))).get('visits')).toBe(1)
  })

  test('of a second manager stands beside it under a name of its own', async () => {
    const { app, sessions } = setUp()
    const admins = createSessions<{ role: string }>({ cookie: { name: '__Host-admin' } })
    app.use(sessionMiddleware(admins, { as: 'admin' })).get('/', (c) => {
      c.var.session.set('name', 'Ada')
      c.var.admin.set('role', 'editor')
      expect(getSession(c)).toBe(c.var.admin)
      expect(getSession(c, sessions)).toBe(c.var.session)
      expect(getSession(c, admins)).toBe(c.var.admin)
      return c.text('')
    })
    const response = await app.request('/')
    expect(ours(response)).toHaveLength(1)
    expect(ours(response, '__Host-admin')).toHaveLength(1)
    expect((await sessions.open(cookiesOf(response))).get('name')).toBe('Ada')
    expect((await admins.open(cookiesOf(response))).get('role')).toBe('editor')
  })

  test('of a second manager under the same name is refused', async () => {
    const { app } = setUp()
    const onError = vi.fn((error: Error) => new Response(error.message, { status: 500 }))
    app
      .use(sessionMiddleware(createSessions({ cookie: { name: '__Host-admin' } })))
      .get('/', (c) => c.text(''))
    app.onError(onError)
    const response = await app.request('/')
    expect(response.status).toBe(500)
    expect(await response.text()).toContain("as: '…'")
    expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'ERR_SESSION_OPTION', rule: 'variable-taken' })
  })

  test('is not opened for a request that is skipped', async () => {
    const { sessions, store } = setUp()
    const app = new Hono().use(sessionMiddleware(sessions, { skip: (c) => c.req.path.endsWith('.css') }))
    app.get('/site.css', (c) => {
      expect(c.var.session).toBeUndefined()
      expect(() => getSession(c)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_NO_MIDDLEWARE' }))
      return c.text('body {}')
    })
    const cookie = `__Host-session=${'A'.repeat(43)}`
    const response = await app.request('/site.css', { headers: { cookie } })
    expect(await response.text()).toBe('body {}')
    expect(response.headers.get('vary')).toBeNull()
    expect(store.calls).toEqual([])
  })
})

describe('errors', () => {
  test('the answer of onError carries the cookie, by its status', async () => {
    const { app, sessions } = setUp()
    app.get('/:status', (c) => {
      c.var.session.set('visits', 1)
      throw new HTTPException(Number(c.req.param('status')) as 401, { message: 'no' })
    })
    const refused = await app.request('/401')
    expect(refused.status).toBe(401)
    expect((await sessions.open(cookiesOf(refused))).get('visits')).toBe(1)
    expect(ours(await app.request('/500'))).toEqual([])
  })

  test('a rotation before a throw holds, and its cookie goes with the answer of onError', async () => {
    const { app } = setUp()
    app.get('/', (c) => c.text(String(c.var.session.update('visits', (n = 0) => n + 1))))
    app.get('/throw', (c) => {
      c.var.session.rotate()
      throw new Error('thrown by the handler')
    })
    app.onError((_, c) => c.text('sorry', 500))
    const browser = createBrowser((url, init) => app.request(url, init))
    await browser.fetch('/')
    const before = browser.jar.header('http://localhost/')
    const response = await browser.fetch('/throw')
    expect(await response.text()).toBe('sorry')
    expect(ours(response)).toHaveLength(1)
    expect(browser.jar.header('http://localhost/')).not.toBe(before)
    expect(await (await browser.fetch('/')).text()).toBe('2')
  })

  test('what is thrown and is no Error goes on as it is; nothing is rotated or saved', async () => {
    const { app, store } = setUp()
    app.get('/', (c) => c.text(String(c.var.session.update('visits', (n = 0) => n + 1))))
    let late!: () => void
    app.get('/throw', (c) => {
      const { session } = c.var
      late = () => session.rotate()
      session.set('visits', 9)
      session.rotate()
      // oxlint-disable-next-line no-throw-literal
      throw 'a string'
    })
    const browser = createBrowser((url, init) => app.request(url, init))
    await browser.fetch('/')
    store.calls.length = 0
    await expect(browser.fetch('/throw')).rejects.toBe('a string')
    expect(store.calls.map(([operation]) => operation)).toEqual(['load'])
    expect(late).toThrow(expect.objectContaining({ code: 'ERR_SESSION_HEADERS_SENT' }))
    expect(await (await browser.fetch('/')).text()).toBe('2')
  })

  test('what cannot be saved goes to onError, with nothing left of the handler’s answer', async () => {
    const { app } = setUp()
    const cancel = vi.fn()
    app.get('/', (c) => {
      const list: unknown[] = []
      c.var.session.set('list', list)
      list.push(1n)
      c.header('X-Handler', 'was here')
      c.header('Set-Cookie', 'theme=dark')
      return c.body(new ReadableStream({ cancel }))
    })
    app.onError((error, c) => {
      c.header('X-Error', (error as SessionError).code)
      return c.text((error as SessionError).path!, 500)
    })
    const response = await app.request('/')
    expect(response.status).toBe(500)
    expect(response.headers.get('x-error')).toBe('ERR_SESSION_VALUE')
    expect(await response.text()).toBe('list[0]')
    expect(response.headers.get('x-handler')).toBeNull()
    expect(response.headers.getSetCookie()).toEqual([])
    expect(cancel).toHaveBeenCalledOnce()
  })

  test('a store that fails at opening throws an HTTPException, which Hono answers by itself', async () => {
    const { app, store } = setUp()
    app.get('/', (c) => c.text(''))
    store.fail('load')
    const request = { headers: { cookie: `__Host-session=${'A'.repeat(43)}` } }
    const response = await app.request('/', request)
    expect(response.status).toBe(503)
    expect(Object.fromEntries(response.headers)).toEqual({
      'cache-control': 'no-store',
      'content-type': 'text/plain; charset=utf-8',
      'retry-after': '1',
    })
    expect(await response.text()).toBe('Service Unavailable')

    const onError = vi.fn<(error: Error) => Response>(() => new Response('later, please', { status: 503 }))
    app.onError(onError)
    expect(await (await app.request('/', request)).text()).toBe('later, please')
    const [error] = onError.mock.calls[0]!
    expect(error).toBeInstanceOf(HTTPException)
    expect(error).toMatchObject({ status: 503, cause: { code: 'ERR_SESSION_STORE', operation: 'load' } })
  })

  test('a store that fails at committing answers 503; middleware further out still has its say', async () => {
    const { sessions, store } = setUp()
    const app = new Hono()
      .use(async (c, next) => {
        c.header('X-Before', '1')
        await next()
        c.header('X-After', '1')
      })
      .use(sessionMiddleware(sessions))
      .get('/', (c) => {
        c.var.session.set('visits', 1)
        c.header('X-Handler', 'was here')
        return c.text('all is well')
      })
    const onError = vi.fn(() => new Response())
    app.onError(onError)
    store.fail('create')
    const response = await app.request('/')
    expect(response.status).toBe(503)
    expect(await response.text()).toBe('Service Unavailable')
    expect(response.headers.get('x-handler')).toBeNull()
    expect(response.headers.get('x-after')).toBe('1')
    expect(onError).not.toHaveBeenCalled()
  })

  test('where the inner of two managers cannot save, the outer does not either', async () => {
    const { app, store } = setUp()
    const broken = new FaultyStore(new MemorySessionStore())
    broken.fail('create')
    const admins = createSessions<{ role: string }>({ store: broken, cookie: { name: '__Host-admin' } })
    app.use(sessionMiddleware(admins, { as: 'admin' })).get('/', (c) => {
      c.var.session.set('name', 'Ada')
      c.var.admin.set('role', 'editor')
      return c.text('')
    })
    const response = await app.request('/')
    expect(response.status).toBe(503)
    expect(response.headers.getSetCookie()).toEqual([])
    expect(store.calls).toEqual([])
  })
})

describe('answers', () => {
  test.each([
    ['c.redirect', 302],
    ['Response.redirect', 303],
    ['c.body', 304],
    ['not found', 404],
  ])('by %s carry the cookie', async (way, status) => {
    const { app, sessions } = setUp()
    app.use((c, next) => {
      c.var.session.set('visits', 1)
      return next()
    })
    if (way !== 'not found')
      app.get('/', (c) => {
        if (way === 'c.redirect') return c.redirect('/next')
        return way === 'c.body' ? c.body(null, 304) : Response.redirect('https://app.example.com/next', 303)
      })
    const response = await app.request('/')
    expect(response.status).toBe(status)
    expect(response.headers.has('location')).toBe(way.endsWith('redirect'))
    expect((await sessions.open(cookiesOf(response))).get('visits')).toBe(1)
  })

  test('that serve several visitors carry the cookie of none to another', async () => {
    const { app } = setUp()
    const shared = new Response(null, { status: 204 })
    app.get('/:does', (c) => {
      if (c.req.param('does') === 'write') c.var.session.set('visits', 1)
      return shared
    })
    expect(ours(await app.request('/write'))).toHaveLength(1)
    expect(ours(await app.request('/read'))).toEqual([])
  })

  test('that stream carry it before they begin, and can save later', async () => {
    const { app, sessions } = setUp()
    let go!: () => void
    const gone = new Promise<void>((resolve) => (go = resolve))
    app.get('/', (c) => {
      const { session } = c.var
      session.set('visits', 1)
      return stream(c, async (out) => {
        await out.write('one ')
        await gone
        session.set('visits', 2)
        await out.write(await session.save())
      })
    })
    const response = await app.request('/')
    const cookie = cookiesOf(response)
    expect((await sessions.open(cookie)).get('visits')).toBe(1)
    go()
    expect(await response.text()).toBe('one saved')
    expect((await sessions.open(cookie)).get('visits')).toBe(2)
  })
})

describe('a Secure cookie', () => {
  const PLAIN = 'http://app.example.com/'
  const HTTPS = 'https://app.example.com/'
  const incoming = (encrypted: boolean, headers: Record<string, string> = {}) => ({
    incoming: { headers: { host: 'app.example.com', ...headers }, socket: { encrypted } },
  })
  const send = async (
    options: SessionsOptions,
    url: string,
    headers: Record<string, string>,
    env?: object,
  ) => {
    const { app } = setUp(options)
    app.get('/', (c) => {
      c.var.session.set('visits', 1)
      return c.text('')
    })
    return ours(await app.request(url, { headers }, env)).length === 1
  }
  const forwarded = { 'X-Forwarded-Proto': 'https' }
  const lowered = { 'x-forwarded-proto': 'https' }

  test('is set over https, and on the machine itself', async () => {
    expect(await send({}, HTTPS, {})).toBe(true)
    expect(await send({}, 'http://localhost/', {})).toBe(true)
    expect(await send({}, PLAIN, {}, incoming(true))).toBe(true)
    expect(await send({}, 'http://localhost/', {}, { incoming: { socket: {} } })).toBe(true)
  })

  test('is withheld over plain http, whatever the request says of itself, and this is said once', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    onTestFinished(() => warn.mockRestore())
    expect(await send({}, PLAIN, {})).toBe(false)
    expect(warn).toHaveBeenCalledOnce()
    expect(await send({}, PLAIN, forwarded)).toBe(false)
    // GET https://app.example.com/ HTTP/1.1, over a plain socket
    expect(await send({}, HTTPS, {}, incoming(false))).toBe(false)
    expect(await send({}, PLAIN, forwarded, incoming(false, lowered))).toBe(false)
  })

  test('is set behind a proxy that is trusted', async () => {
    expect(await send({ trustProxy: true }, PLAIN, forwarded)).toBe(true)
    expect(await send({ trustProxy: true }, PLAIN, forwarded, incoming(false, lowered))).toBe(true)
  })

  test('is judged on @hono/node-server by the real connection', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    onTestFinished(() => warn.mockRestore())
    const { sessions } = setUp()
    const server = await overNode.serve(sessions as unknown as Sessions, async ({ session }) => {
      session.set('visits', 1)
      return {}
    })
    onTestFinished(() => server.close())
    expect(ours(await server.fetch('/'))).toHaveLength(1)
  })
})

test('a decision is told while the context of its request is the current one', async () => {
  const told: unknown[] = []
  const stop = onCommit(({ outcome }) => told.push([outcome, Context.current()?.request]))
  onTestFinished(stop)
  const app = new Hono().use(sessionMiddleware(createSessions({ cookie: { secure: false } })))
  app.get('/', (c) => c.text(c.var.session.set('n', 1).id))
  const request = new Request('http://localhost/')
  await app.request(request)
  expect(told).toEqual([['saved', request]])
})
