import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { ErrorRequestHandler, Express, Request, Response as ExpressResponse } from 'express'
import express from 'express'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'

import type { ExpressMiddlewareOptions } from '../../src/adapters/express.ts'
import { getSession, sessionMiddleware } from '../../src/adapters/express.ts'
import type { SessionsOptions } from '../../src/index.ts'
import { Context, createSessions, MemorySessionStore, Session } from '../../src/index.ts'
import type { AdapterHarness, Answer } from '../../src/testing/adapter-contract.ts'
import { createBrowser } from '../../src/testing/cookie-jar.ts'
import { FaultyStore } from '../../src/testing/faulty-store.ts'
import { eventually } from '../support/eventually.ts'
import { listen, stop } from '../support/http.ts'
import { runAdapterContract } from './run-adapter-contract.ts'

const quietly: ErrorRequestHandler = (error: { status?: number }, _req, res, next) => {
  if (res.headersSent) next(error)
  else res.status(error.status ?? 500).send('from the error handler')
}

const harness: AdapterHarness = {
  async serve(sessions, handler) {
    const app = express()
      .disable('etag')
      .use(sessionMiddleware(sessions, { onError: () => {} }))
      .use(async (req, res) => answer(res, await handler(exchangeOf(req))))
      .use(quietly)
    const server = createServer(app)
    const port = await listen(server)
    return {
      fetch: (path, init) => fetch(`http://127.0.0.1:${port}${path}`, { redirect: 'manual', ...init }),
      close: () => stop(server),
    }
  },
}

function exchangeOf(req: Request) {
  return {
    method: req.method,
    path: req.path,
    get session() {
      return getSession(req)
    },
    set session(session) {
      Context.current()!.session = session
    },
  }
}

async function answer(res: ExpressResponse, { status = 200, headers = [], body = null }: Answer) {
  res.status(status)
  for (const [name, value] of headers) res.append(name, value)
  if (body === null) res.end()
  else if (typeof body === 'string') res.send(body)
  else await pipeline(Readable.from(body), res)
}

const rejections: unknown[] = []
const keepRejection = (error: unknown): unknown => rejections.push(error)
beforeAll(() => void process.on('unhandledRejection', keepRejection))
afterAll(() => {
  process.off('unhandledRejection', keepRejection)
  expect(rejections).toEqual([])
})

runAdapterContract('express', harness)

interface AppSession {
  visits?: number
  name?: string
  list?: unknown[]
}

/** Serves an application behind the middleware, to a browser of its own. */
async function serve(
  build: (app: Express) => void,
  given: SessionsOptions = {},
  options: ExpressMiddlewareOptions = {},
) {
  const memory = new MemorySessionStore()
  const store = new FaultyStore(memory)
  // Every answer that has something to save is held for a while.
  store.before = () => nextTurn()
  const sessions = createSessions<AppSession>({ store, ...given })
  const app = express().use(sessionMiddleware(sessions, options))
  app.get('/sign-in', (req, res) => {
    getSession<AppSession>(req).signIn('ada')
    getSession<AppSession>(req).set('visits', 1)
    res.end()
  })
  app.get('/me', (req, res) => {
    const { userId, data } = getSession<AppSession>(req)
    res.json({ userId, ...data })
  })
  build(app)
  const server = createServer(app)
  const port = await listen(server)
  onTestFinished(() => stop(server))
  const origin = `http://127.0.0.1:${port}`
  const browser = createBrowser((url, init) => fetch(url, init), { origin })
  return { app, store, memory, sessions, browser, fetch: browser.fetch, jar: browser.jar, origin }
}

/** A conditional request; left alone, fetch would ask for none of it to come from any cache (Fetch 4.6, 16). */
const ifNoneMatch = ({ headers }: Response) => ({
  'if-none-match': headers.get('etag')!,
  'cache-control': 'max-age=0',
})

const seen = async (response: Response): Promise<unknown> => response.json()

describe('answers', () => {
  test('res.json, res.send and res.redirect carry the cookie, and what they set themselves', async () => {
    const { fetch } = await serve((app) =>
      app
        .get('/json', (req, res) => {
          getSession<AppSession>(req).update('visits', (n = 0) => n + 1)
          res.cookie('own', '1').json({ a: 1 })
        })
        .get('/redirect', (req, res) => {
          getSession<AppSession>(req).set('name', 'Ada')
          getSession(req).rotate()
          res.redirect('/me')
        })
        .get('/gone', async (req, res) => {
          await getSession(req).destroy()
          res.sendStatus(204)
        }),
    )
    const json = await fetch('/json')
    expect(json.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(json.headers.get('etag')).not.toBeNull()
    expect(json.headers.get('content-length')).toBe('7')
    expect(json.headers.getSetCookie()).toEqual(['own=1; Path=/', expect.stringMatching(/^__Host-session=/)])
    expect(await json.json()).toEqual({ a: 1 })

    const redirect = await fetch('/redirect', { redirect: 'follow' })
    expect(await seen(redirect)).toEqual({ userId: null, visits: 1, name: 'Ada' })

    const gone = await fetch('/gone')
    expect(gone.status).toBe(204)
    expect(gone.headers.getSetCookie()).toEqual([expect.stringContaining('Max-Age=0')])
    expect(await seen(await fetch('/me'))).toEqual({ userId: null })
  })

  test('304 is answered by Express itself, and carries the cookie too', async () => {
    const { fetch } = await serve((app) =>
      app.get('/:name', (req, res) => {
        getSession<AppSession>(req).set('name', req.path.slice(1))
        res.send('always the same')
      }),
    )
    const first = await fetch('/ada')
    const second = await fetch('/eve', { headers: ifNoneMatch(first) })
    expect([second.status, await second.text()]).toEqual([304, ''])
    expect(second.headers.get('content-length')).toBeNull()
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'eve' })

    const anonymous = await serve((app) =>
      app.get('/', (req, res) => {
        getSession<AppSession>(req).set('name', 'Ada')
        res.send('always the same')
      }),
    )
    const fresh = await anonymous.fetch('/', { headers: ifNoneMatch(first) })
    expect(fresh.status).toBe(304)
    expect(fresh.headers.getSetCookie()).toHaveLength(1)
  })

  test('HEAD on a route for GET has the same headers, and no body', async () => {
    const { fetch, browser } = await serve((app) =>
      app.get('/', (req, res) => {
        getSession<AppSession>(req).update('visits', (n = 0) => n + 1)
        res.send('text')
      }),
    )
    const response = await fetch('/', { method: 'HEAD' })
    expect(response.headers.get('content-length')).toBe('4')
    expect(response.headers.getSetCookie()).toHaveLength(1)
    expect(await response.text()).toBe('')
    expect(browser.jar.size).toBe(1)
  })

  describe('files', () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-express-'))
    const large = 'x'.repeat(1_000_000)
    writeFileSync(join(folder, 'small.txt'), 'small')
    writeFileSync(join(folder, 'large.txt'), large)
    afterAll(() => rmSync(folder, { recursive: true }))

    test('res.sendFile sends small ones and large ones, ranges and 304, and calls back', async () => {
      const sent = vi.fn()
      const { fetch } = await serve((app) =>
        app.get('/:file', (req, res) => {
          getSession<AppSession>(req).update('visits', (n = 0) => n + 1)
          res.sendFile(req.params.file, { root: folder }, sent)
        }),
      )
      const small = await fetch('/small.txt')
      expect(await small.text()).toBe('small')
      expect(small.headers.getSetCookie()).toHaveLength(1)
      expect(await (await fetch('/large.txt')).text()).toBe(large)
      const range = await fetch('/large.txt', { headers: { range: 'bytes=0-9' } })
      expect([range.status, await range.text()]).toEqual([206, 'x'.repeat(10)])
      expect((await fetch('/small.txt', { headers: ifNoneMatch(small) })).status).toBe(304)
      expect(await seen(await fetch('/me'))).toEqual({ userId: null, visits: 4 })
      await eventually(() => expect(sent).toHaveBeenCalledTimes(4))
      expect(sent.mock.calls.flat()).toEqual([undefined, undefined, undefined, undefined])
    })

    test('express.static serves below the middleware, or past it where they are skipped', async () => {
      const { fetch, store } = await serve(
        (app) => app.use('/files', express.static(folder)).use('/skipped', express.static(folder)),
        {},
        { skip: ({ path }) => path.startsWith('/skipped/') },
      )
      await fetch('/sign-in')
      store.calls.length = 0
      expect(await (await fetch('/skipped/large.txt')).text()).toBe(large)
      expect(store.calls).toEqual([])
      const response = await fetch('/files/large.txt')
      expect(await response.text()).toBe(large)
      // Nobody has looked at the session.
      expect(response.headers.get('vary')).toBeNull()
      expect(response.headers.get('cache-control')).toBe('public, max-age=0')
      expect(store.calls.map(([operation]) => operation)).toEqual(['load'])
    })
  })

  test('a body parser in between keeps the context', async () => {
    const { fetch } = await serve((app) =>
      app.post('/', express.json(), (req, res) => {
        Context.current<AppSession>()!.session.set('name', (req.body as { name: string }).name)
        res.send(String(Context.current()!.request === req))
      }),
    )
    const init = { method: 'POST', body: '{"name":"Ada"}', headers: { 'content-type': 'application/json' } }
    expect(await (await fetch('/', init)).text()).toBe('true')
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'Ada' })
  })

  test('what the context holds at the end is what is committed', async () => {
    const { fetch } = await serve((app) =>
      app.get('/', (req, res) => {
        getSession<AppSession>(req).set('name', 'dropped')
        Context.current<AppSession>()!.session = new Session<AppSession>().set('name', 'kept')
        res.send(String(getSession<AppSession>(req).get('name')))
      }),
    )
    expect(await (await fetch('/')).text()).toBe('kept')
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'kept' })
  })

  test('what no route answers is 404, and saved as any other', async () => {
    const { fetch } = await serve((app) =>
      app.use((req, _res, next) => {
        getSession<AppSession>(req).set('name', 'Ada')
        next()
      }),
    )
    expect((await fetch('/nowhere')).status).toBe(404)
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'Ada' })
  })
})

describe('errors', () => {
  /** Ways for a handler to fail, after what it does to the session. */
  const failures: Record<string, (app: Express, act: (session: Session<AppSession>) => unknown) => unknown> =
    {
      'throws at once': (app, act) =>
        app.get('/fail', (req) => {
          void act(getSession<AppSession>(req))
          throw new Error('thrown by the handler')
        }),
      'rejects later': (app, act) =>
        app.get('/fail', async (req) => {
          await act(getSession<AppSession>(req))
          throw new Error('thrown by the handler')
        }),
      'calls next with an error': (app, act) =>
        app.get('/fail', async (req, _res, next) => {
          await act(getSession<AppSession>(req))
          next(new Error('from the handler'))
        }),
    }
  const handlers: Record<string, readonly ErrorRequestHandler[]> = {
    'Express’ own error handler': [],
    'the application’s error handler': [quietly],
  }

  for (const [way, fail] of Object.entries(failures))
    for (const [handler, errorHandlers] of Object.entries(handlers)) {
      test(`where a handler ${way}, the answer of ${handler} carries the rotation, and nothing is saved`, async () => {
        const { fetch, memory } = await serve((app) => {
          fail(app, (session) => {
            session.set('name', 'dropped')
            session.signIn('eve')
          })
          app.set('env', 'test').use(...errorHandlers, through)
        })
        const [before] = (await fetch('/sign-in')).headers.getSetCookie()
        const response = await fetch('/fail')
        expect(response.status).toBe(500)
        const [after] = response.headers.getSetCookie()
        expect(after).toMatch(/^__Host-session=/)
        expect(pairOf(after!)).not.toBe(pairOf(before!))
        expect(memory.size).toBe(1)
        expect(await seen(await fetch('/me'))).toEqual({ userId: 'ada', visits: 1 })
      })

      if (way !== 'throws at once')
        test(`where a handler destroys the session and then ${way}, ${handler} clears the cookie`, async () => {
          const { fetch, jar, memory } = await serve((app) => {
            fail(app, (session) => session.destroy())
            app.set('env', 'test').use(...errorHandlers, through)
          })
          await fetch('/sign-in')
          const response = await fetch('/fail')
          expect(response.status).toBe(500)
          expect(response.headers.getSetCookie()).toEqual([expect.stringContaining('Max-Age=0')])
          expect([jar.size, memory.size]).toEqual([0, 0])
        })
    }

  test('an answer of 500 saves nothing, one of 400 does', async () => {
    const { fetch, memory } = await serve((app) =>
      app.get('/:status', (req, res) => {
        getSession<AppSession>(req).set('name', 'Ada')
        res.sendStatus(Number(req.params.status))
      }),
    )
    expect((await fetch('/500')).headers.getSetCookie()).toEqual([])
    expect(memory.size).toBe(0)
    expect((await fetch('/400')).headers.getSetCookie()).toHaveLength(1)
    expect(memory.size).toBe(1)
  })

  test('a store that cannot open the session makes an error with status 503, and the cookie stays', async () => {
    const errors: unknown[] = []
    const { fetch, store } = await serve((app) => {
      const keep: ErrorRequestHandler = (error, _req, _res, next) => {
        errors.push(error)
        next(error)
      }
      app.set('env', 'test').use(keep)
    })
    await fetch('/sign-in')
    store.fail('load')
    const response = await fetch('/me')
    expect(response.status).toBe(503)
    expect(response.headers.getSetCookie()).toEqual([])
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_SESSION_STORE', status: 503 })])
    store.heal()
    expect(await seen(await fetch('/me'))).toEqual({ userId: 'ada', visits: 1 })
  })

  for (const operation of ['create', 'replace', 'end'] as const)
    test(`a store that fails at ${operation} makes the answer 503, and nothing of it is left`, async () => {
      const { fetch, store } = await serve((app) =>
        app.get('/', async (req, res) => {
          const session = getSession<AppSession>(req)
          if (operation === 'end') session.rotate()
          else session.set('name', 'Ada')
          res.cookie('own', '1').set('X-Secret', '1').json({ secret: true })
        }),
      )
      if (operation !== 'create') await fetch('/sign-in')
      store.fail(operation)
      const response = await fetch('/')
      expect([response.status, await response.text()]).toEqual([503, 'Service Unavailable'])
      expect(Object.fromEntries(response.headers)).toEqual({
        'cache-control': 'no-store',
        connection: 'keep-alive',
        'content-length': '19',
        'content-type': 'text/plain; charset=utf-8',
        date: expect.any(String),
        'keep-alive': expect.any(String),
        'retry-after': '1',
      })
      store.heal()
      const expected = operation === 'create' ? { userId: null } : { userId: 'ada', visits: 1 }
      expect(await seen(await fetch('/me'))).toEqual(expected)
    })

  test('a value that cannot be kept is found at commit: 500, and reported', async () => {
    const onError = vi.fn()
    const build = (app: Express): unknown =>
      app.get('/', (req, res) => {
        getSession<AppSession>(req).set('list', [])
        getSession<AppSession>(req).get('list')!.push(10n)
        res.json({ secret: true })
      })
    const { fetch } = await serve(build, {}, { onError })
    const response = await fetch('/')
    expect([response.status, await response.text()]).toEqual([500, 'Internal Server Error'])
    expect(response.headers.getSetCookie()).toEqual([])
    expect(response.headers.get('x-powered-by')).toBeNull()
    expect(onError).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ code: 'ERR_SESSION_VALUE', path: 'list[0]' }),
      expect.objectContaining({ originalUrl: '/' }),
    )
  })

  test('a handler that answers twice gets the error that it would get without sessions', async () => {
    const codes: unknown[] = []
    const { fetch } = await serve((app) => {
      const keep: ErrorRequestHandler = (error: { code: string }, _req, res, _next) => {
        codes.push(error.code, res.headersSent)
      }
      app
        .get('/', (req, res) => {
          getSession<AppSession>(req).set('name', 'Ada')
          res.json({ first: true })
          res.json({ second: true })
        })
        .use(keep)
    })
    expect(await seen(await fetch('/'))).toEqual({ first: true })
    expect(codes).toEqual(['ERR_HTTP_HEADERS_SENT', true])
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'Ada' })
  })

  test('getSession where no middleware was names what is missing', async () => {
    const app = express()
      .get('/', (req, res) => void res.send(getSession(req).id))
      .use(((error: { code: string }, _req, res, _next) => void res.send(error.code)) as ErrorRequestHandler)
    const server = createServer(app)
    onTestFinished(() => stop(server))
    const response = await fetch(`http://127.0.0.1:${await listen(server)}`)
    expect(await response.text()).toBe('ERR_SESSION_NO_MIDDLEWARE')
  })
})

describe('several', () => {
  test('two managers have a session and a cookie each', async () => {
    const admin = createSessions<{ level?: number }>({ cookie: { name: '__Host-admin' } })
    const { fetch, sessions, jar } = await serve((app) =>
      app.use('/admin', sessionMiddleware(admin)).get('/admin', (req, res) => {
        getSession(req, sessions).set('name', 'Ada')
        getSession(req, admin).update('level', (level = 0) => level + 1)
        res.json([
          getSession(req) === (getSession(req, admin) as unknown),
          getSession(req, admin).get('level'),
        ])
      }),
    )
    expect(await seen(await fetch('/admin'))).toEqual([true, 1])
    expect(await seen(await fetch('/admin'))).toEqual([true, 2])
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, name: 'Ada' })
    expect(jar.size).toBe(2)
  })

  test('one manager mounted twice makes one session', async () => {
    const memory = new MemorySessionStore()
    const sessions = createSessions<AppSession>({ store: memory })
    const { fetch } = await serve(
      (app) =>
        app
          .use('/twice', sessionMiddleware(sessions), (req, _res, next) => {
            getSession(req, sessions).set('name', 'Ada')
            next()
          })
          .get('/twice', sessionMiddleware(sessions), (req, res) => {
            getSession(req, sessions).set('visits', 1)
            res.json(getSession(req, sessions).data)
          }),
      { cookie: { name: '__Host-other' } },
    )
    const response = await fetch('/twice')
    expect(response.headers.getSetCookie()).toHaveLength(1)
    expect(await seen(response)).toEqual({ name: 'Ada', visits: 1 })
    expect(memory.size).toBe(1)
  })

  test('a hundred parallel increments make a hundred', async () => {
    const { fetch } = await serve((app) =>
      app.get('/visit', (req, res) => {
        getSession<AppSession>(req).update('visits', (n = 0) => n + 1)
        res.end()
      }),
    )
    await fetch('/visit')
    const responses = await Promise.all(Array.from({ length: 100 }, () => fetch('/visit')))
    expect(responses.every(({ status }) => status === 200)).toBe(true)
    expect(await seen(await fetch('/me'))).toEqual({ userId: null, visits: 101 })
  })
})

const through = (_req: IncomingMessage, _res: unknown, next: (error?: unknown) => void): void => next()

function pairOf(line: string): string {
  return line.split(';')[0]!
}
