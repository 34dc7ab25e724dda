import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import http2 from 'node:http2'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createGzip } from 'node:zlib'

import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'

import type { NodeMiddlewareOptions } from '../../src/adapters/node.ts'
import { getSession, sessionMiddleware } from '../../src/adapters/node.ts'
import type { SessionsOptions } from '../../src/index.ts'
import { Context, createSessions, MemorySessionStore, Session } from '../../src/index.ts'
import type { AdapterHarness, Answer } from '../../src/testing/adapter-contract.ts'
import type { StoreOperation } from '../../src/testing/faulty-store.ts'
import { FaultyStore } from '../../src/testing/faulty-store.ts'
import { eventually } from '../support/eventually.ts'
import { listen, stop, Wire } from '../support/http.ts'
import { runAdapterContract } from './run-adapter-contract.ts'

const harness: AdapterHarness = {
  async serve(sessions, handler) {
    const withSession = sessionMiddleware(sessions, { onError: () => {} })
    const server = createServer((req, res) =>
      withSession(req, res, async (error) => {
        const fail = (status: number): void => {
          if (res.headersSent) res.destroy()
          else res.writeHead(status).end()
        }
        if (error !== undefined) return fail((error as { status?: number }).status ?? 500)
        try {
          await answer(res, await handler(exchangeOf(req)))
        } catch {
          fail(500)
        }
      }),
    )
    const port = await listen(server)
    return {
      fetch: (path, init) => fetch(`http://127.0.0.1:${port}${path}`, { redirect: 'manual', ...init }),
      close: () => stop(server),
    }
  },
}

function exchangeOf(req: IncomingMessage) {
  return {
    method: req.method!,
    path: new URL(req.url!, 'http://localhost').pathname,
    get session() {
      return getSession(req)
    },
    set session(session) {
      Context.current()!.session = session
    },
  }
}

async function answer(res: ServerResponse, { status = 200, headers = [], body = null }: Answer) {
  res.statusCode = status
  for (const [name, value] of headers) res.appendHeader(name, value)
  if (body === null) res.end()
  else if (typeof body === 'string') res.end(body)
  else await pipeline(Readable.from(body), res)
}

const rejections: unknown[] = []
const keepRejection = (error: unknown): unknown => rejections.push(error)
beforeAll(() => void process.on('unhandledRejection', keepRejection))
afterAll(() => {
  process.off('unhandledRejection', keepRejection)
  expect(rejections).toEqual([])
})

runAdapterContract('node', harness)

interface AppSession {
  visits?: number
  name?: string
  list?: unknown[]
}

type Handle = (req: IncomingMessage, res: ServerResponse, session: Session<AppSession>) => unknown

interface Setting {
  sessions?: SessionsOptions
  options?: NodeMiddlewareOptions
  /** What stands between the server and the session middleware, and between that and the handler. */
  outside?: Layer
  inside?: Layer
}

type Layer = (req: IncomingMessage, res: ServerResponse, next: () => void) => void

const through: Layer = (_req, _res, next) => next()

/** Serves a handler behind the middleware, over http on 127.0.0.1. */
async function serve(
  handle: Handle,
  { sessions: given = {}, options, outside = through, inside = through }: Setting = {},
) {
  const store = new FaultyStore(new MemorySessionStore())
  const sessions = createSessions<AppSession>({ store, cookie: COOKIE, storeTimeout: 10, ...given })
  const withSession = sessionMiddleware(sessions, options)
  const server = createServer((req, res) =>
    outside(req, res, () =>
      withSession(req, res, (error) => {
        if (error !== undefined)
          res.writeHead((error as { status: number }).status).end('from the error handler')
        else inside(req, res, () => void handle(req, res, getSession<AppSession>(req)))
      }),
    ),
  )
  const port = await listen(server)
  onTestFinished(() => stop(server))
  return { port, store, sessions, server, url: `http://127.0.0.1:${port}/` }
}

const COOKIE = { secure: false, name: 'session' }

/** A cookie that leads to a session with these data. */
async function planted(url: string, path = 'plant'): Promise<string> {
  const response = await fetch(url + path)
  return response.headers.getSetCookie()[0]!.split(';')[0]!
}

/** Lets every `operation` of a store stand until it is opened. */
function gate(store: FaultyStore, operation: StoreOperation) {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  store.before = async (called) => {
    if (called !== operation) return
    reached.resolve()
    await opened.promise
  }
  return { reached: reached.promise, open: opened.resolve }
}

/** Resolves when the server, and this side, have had every occasion to pass on what there is. */
async function quiet(port: number): Promise<void> {
  for (let i = 0; i < 3; i++) await fetch(`http://127.0.0.1:${port}/ping`)
  await nextTurn()
}

interface Message {
  information: string[]
  status: string
  headers: string[]
  body: string
}

/**
 * Takes an answer apart: headers sorted, their names in lower case, the date set aside; chunks put together, because where one ends is
 * nobody's business (RFC 9112 7.1), but for the last, which is left standing with the trailers.
 */
function parse(received: string): Message {
  const information: string[] = []
  let rest = received
  while (/^HTTP\/1\.1 1\d\d/.test(rest)) {
    information.push(rest.slice(0, rest.indexOf('\r\n\r\n')))
    rest = rest.slice(rest.indexOf('\r\n\r\n') + 4)
  }
  const end = rest.indexOf('\r\n\r\n')
  const [status = '', ...lines] = rest.slice(0, end).split('\r\n')
  const headers = lines.map((line) =>
    line.replace(/^[^:]*/, (name) => name.toLowerCase()).replace(/^date: .*/, 'date'),
  )
  let body = rest.slice(end + 4)
  if (headers.includes('transfer-encoding: chunked')) body = joined(body)
  return { information, status, headers: headers.toSorted(), body }
}

function joined(chunks: string): string {
  const [, size = '', rest = ''] = /^([\da-f]+)\r\n(.*)$/s.exec(chunks) ?? []
  const length = Number.parseInt(size, 16)
  return length > 0 ? rest.slice(0, length) + joined(rest.slice(length + 2)) : chunks
}

const OURS = /^(?:set-cookie: session=|vary: Cookie$|cache-control: no-store$)/

describe('answers are what they are without sessions', () => {
  /** Ways to answer, each the whole of a handler. */
  const ways: Record<string, (res: ServerResponse, req: IncomingMessage) => unknown> = {
    'end alone': (res) => res.end(),
    'end with text': (res) => res.end('text'),
    'end with a callback': (res) => res.end(() => {}),
    'end with bytes': (res) => res.end(Buffer.from([1, 2, 3])),
    'end with an encoding': (res) => res.end('6869', 'hex'),
    'one write': (res) => (res.write('one'), res.end()),
    'several writes': (res) => (res.write('one'), res.write('dHdv', 'base64'), res.end('three')),
    'writes as they come': async (res) => {
      for (const piece of ['one', 'two', 'three']) {
        res.write(piece)
        await nextTurn()
      }
      res.end()
    },
    'writes in a cork': async (res) => {
      res.cork()
      res.write('one')
      res.write('two')
      await nextTurn()
      res.uncork()
      res.end()
    },
    'an empty write': (res) => (res.write(''), res.end('text')),
    'a declared length': (res) => {
      res.setHeader('Content-Length', 6)
      res.write('one')
      res.end('two')
    },
    'headers set one by one': (res) => {
      res.setHeader('Content-Type', 'text/css')
      res.setHeader('Set-Cookie', ['a=1', 'b=2'])
      res.appendHeader('Set-Cookie', 'c=3')
      res.end('p {}')
    },
    'writeHead with a status': (res) => res.writeHead(404).end('no'),
    'writeHead with a reason': (res) => res.writeHead(200, 'Fine').end(),
    'writeHead with an object': (res) =>
      res
        .writeHead(200, { 'Content-Type': 'text/css', 'Set-Cookie': ['a=1', 'b=2'], 'X-Number': 7 })
        .end('p {}'),
    'writeHead with a reason and an object': (res) =>
      res.writeHead(201, 'Made', { 'Set-Cookie': 'a=1' }).end('made'),
    'writeHead with an undefined reason and an object': (res) =>
      res.writeHead(201, undefined, { 'Set-Cookie': 'a=1' }).end('made'),
    'writeHead with a flat array': (res) =>
      res.writeHead(200, ['Set-Cookie', 'a=1', 'X-A', '1', 'Set-Cookie', 'b=2']).end('text'),
    'writeHead with an array of pairs': (res) =>
      res
        .writeHead(200, [
          ['Set-Cookie', 'a=1'],
          ['X-A', '1'],
          ['Set-Cookie', 'b=2'],
        ] as unknown as OutgoingHttpHeaders)
        .end('text'),
    'writeHead with an object over headers set before': (res) => {
      res.setHeader('Set-Cookie', 'old=1')
      res.setHeader('X-Kept', '1')
      res.writeHead(200, { 'set-cookie': ['a=1', 'b=2'] }).end('text')
    },
    'writeHead with a flat array over headers set before': (res) => {
      res.setHeader('Set-Cookie', ['old=1', 'old=2'])
      res
        .writeHead(200, ['Set-Cookie', ['a=1', 'b=2'], 'set-cookie', 'c=3'] as unknown as string[])
        .end('text')
    },
    'writeHead with a length, then end': (res) => res.writeHead(200, { 'Content-Length': 4 }).end('text'),
    'writeHead by its old name, where Node has it': (res) => {
      const { writeHeader = res.writeHead } = res as { writeHeader?: typeof res.writeHead }
      writeHeader.call(res, 200, { 'Set-Cookie': 'a=1' }).end('text')
    },
    'a reason of its own': (res) => {
      res.statusMessage = 'As you like it'
      res.end('text')
    },
    'flushHeaders first': (res) => (res.flushHeaders(), res.write('one'), res.end('two')),
    '204': (res) => res.writeHead(204).end(),
    '204 with a body that cannot be': (res) => {
      res.statusCode = 204
      res.end('text')
    },
    '304': (res) => {
      res.statusCode = 304
      res.setHeader('ETag', '"1"')
      res.end()
    },
    'a redirect': (res) => res.writeHead(302, { Location: '/elsewhere' }).end(),
    trailers: (res, req) => {
      // Only chunks can be followed by them; for the rest, Node throws.
      if (req.method === 'HEAD' || req.httpVersion === '1.0') return res.end()
      res.writeHead(200, { Trailer: 'X-Sum' })
      res.write('one')
      res.addTrailers({ 'X-Sum': '3' })
      res.end()
    },
    'without a date': (res) => {
      res.sendDate = false
      res.end('text')
    },
    'without a length': (res) => {
      res.removeHeader('Content-Length')
      res.end('text')
    },
    'closing the connection': (res) => res.writeHead(200, { Connection: 'close' }).end('text'),
    'information first': (res) => {
      res.writeContinue()
      res.writeProcessing()
      res.writeEarlyHints({ link: '</style.css>; rel=preload' })
      res.end('text')
    },
    'a pipe': (res) => Readable.from(['one', 'two', 'three']).pipe(res),
    'a pipeline': (res) => pipeline(Readable.from(['one', 'two', 'three']), new PassThrough(), res),
    'the request, piped back': (res, req) => req.pipe(res),
  }

  const requests: Record<string, readonly string[]> = {
    GET: ['GET / HTTP/1.1', 'Host: localhost', 'Connection: close'],
    HEAD: ['HEAD / HTTP/1.1', 'Host: localhost', 'Connection: close'],
    'GET by HTTP/1.0': ['GET / HTTP/1.0'],
    'POST with a body': [
      'POST / HTTP/1.1',
      'Host: localhost',
      'Connection: close',
      'Content-Length: 4',
      '',
      'body',
    ],
  }

  async function say(port: number, lines: readonly string[]): Promise<string> {
    const wire = new Wire(port)
    wire.send(...lines)
    return wire.end()
  }

  for (const [way, act] of Object.entries(ways))
    test(way, async () => {
      const bare = createServer((req, res) => void act(res, req))
      const port = await listen(bare)
      onTestFinished(() => stop(bare))
      const untouched = await serve((req, res) => act(res, req))
      const read = await serve((req, res, session) => (session.get('name'), act(res, req)))
      const written = await serve((req, res, session) => (session.set('name', 'Ada'), act(res, req)))
      // The store answers a little later, as real ones do.
      written.store.before = () => nextTurn()

      for (const [request, lines] of Object.entries(requests)) {
        const expected = parse(await say(port, lines))
        expect(parse(await say(untouched.port, lines)), `${request}, session untouched`).toEqual(expected)

        const ofRead = parse(await say(read.port, lines))
        expect(
          ofRead.headers.filter((line) => OURS.test(line)),
          request,
        ).toEqual(['vary: Cookie'])
        expect(withoutOurs(ofRead), `${request}, session read`).toEqual(expected)

        const ofWritten = parse(await say(written.port, lines))
        expect(
          ofWritten.headers.filter((line) => OURS.test(line)),
          request,
        ).toEqual([
          'cache-control: no-store',
          expect.stringMatching(
            /^set-cookie: session=[\w-]{43}; Max-Age=86400; Path=\/; HttpOnly; SameSite=Lax$/,
          ),
          'vary: Cookie',
        ])
        expect(withoutOurs(ofWritten), `${request}, session written`).toEqual(expected)
      }
    })

  function withoutOurs(message: Message): Message {
    return { ...message, headers: message.headers.filter((line) => !OURS.test(line)) }
  }
})

describe('the commit comes before the first byte', () => {
  const beginnings: Record<string, (res: ServerResponse) => unknown> = {
    end: (res) => res.end('text'),
    write: (res) => res.write('text'),
    writeHead: (res) => (res.writeHead(200, { 'Content-Type': 'text/css' }), res.end('text')),
    flushHeaders: (res) => res.flushHeaders(),
    'a pipe': (res) => Readable.from(['text']).pipe(res),
    'a redirect': (res) => res.writeHead(302, { Location: '/' }).end(),
  }
  for (const [name, begin] of Object.entries(beginnings))
    test(`when the answer begins with ${name}`, async () => {
      const { port, store } = await serve((req, res, session) => {
        if (req.url === '/ping') return res.end()
        session.set('name', 'Ada')
        begin(res)
      })
      const { reached, open } = gate(store, 'create')
      const wire = new Wire(port)
      wire.get()
      await reached
      await quiet(port)
      expect(wire.received).toBe('')
      open()
      expect(parse(await wire.until('\r\n\r\n')).headers).toContainEqual(
        expect.stringMatching(/^set-cookie: session=/),
      )
    })

  test('where nothing is to be written, the answer leaves in the tick in which it is given', async () => {
    const steps: string[] = []
    const { url } = await serve((_req, res, session) => {
      session.get('name')
      res.end('text')
      steps.push(res.writableEnded && res.headersSent ? 'sent' : 'held')
      expect(Object.hasOwn(res, 'headersSent')).toBe(false)
    })
    await fetch(url)
    expect(steps).toEqual(['sent'])
  })

  test('what comes after the first byte is not held', async () => {
    const written: boolean[] = []
    const { port } = await serve(async (_req, res, session) => {
      session.set('name', 'Ada')
      res.write('one')
      await once(res, 'drain')
      written.push(res.write('two'))
      await until.promise
      res.end('three')
    })
    const until = Promise.withResolvers<void>()
    const wire = new Wire(port)
    wire.get('/', 'Connection: close')
    await wire.until('two')
    until.resolve()
    expect(parse(await wire.end()).body).toBe('onetwothree0\r\n\r\n')
    expect(written).toEqual([true])
  })
})

describe('while the answer is held', () => {
  /** Runs `during` on a response that is held; resolves to what came over the wire. */
  async function held(
    during: (res: ServerResponse) => unknown,
    before: (res: ServerResponse) => unknown = () => {},
  ) {
    const said = Promise.withResolvers<unknown>()
    const { port, store } = await serve((_req, res, session) => {
      session.set('name', 'Ada')
      before(res)
      res.write('begun ')
      try {
        said.resolve(during(res))
      } catch (error) {
        said.reject(error as Error)
      }
      if (!res.writableEnded) res.end('ended')
    })
    const { open, reached } = gate(store, 'create')
    const wire = new Wire(port)
    wire.get('/', 'Connection: close')
    await reached
    const value = await said.promise
    open()
    return { value, ...parse(await wire.end()) }
  }

  test('its headers count as sent', async () => {
    expect((await held((res) => res.headersSent)).value).toBe(true)
  })

  const late: Record<string, (res: ServerResponse) => unknown> = {
    setHeader: (res) => res.setHeader('X-Late', '1'),
    setHeaders: (res) => res.setHeaders(new Map([['X-Late', '1']])),
    appendHeader: (res) => res.appendHeader('X-Late', '1'),
    removeHeader: (res) => res.removeHeader('X-Early'),
    writeHead: (res) => res.writeHead(500),
  }
  for (const [method, call] of Object.entries(late))
    test(`${method} throws as it does when they have been sent`, async () => {
      const codeOf = (error: unknown) => ({
        ...(error as { code: string }),
        message: (error as Error).message,
      })
      const native = Promise.withResolvers<unknown>()
      const bare = createServer((_req, res) => {
        res.flushHeaders()
        try {
          call(res)
        } catch (error) {
          native.resolve(codeOf(error))
        }
        res.end()
      })
      const url = `http://127.0.0.1:${await listen(bare)}`
      onTestFinished(() => stop(bare))
      await fetch(url)

      const answer = await held(
        (res) => {
          try {
            call(res)
          } catch (error) {
            return codeOf(error)
          }
          return 'did not throw'
        },
        (res) => res.setHeader('X-Early', '1'),
      )
      expect(answer.value).toEqual(await native.promise)
      expect(answer.status).toBe('HTTP/1.1 200 OK')
      expect(answer.headers).toContain('x-early: 1')
      expect(answer.headers.join()).not.toContain('x-late')
      expect(answer.body).toContain('ended')
    })

  test('a status set now comes too late', async () => {
    const answer = await held((res) => {
      res.statusCode = 500
      res.statusMessage = 'Too late'
    })
    expect(answer.status).toBe('HTTP/1.1 200 OK')
  })

  test('once ended, it says so', async () => {
    const { value, body } = await held((res) => {
      const before = res.writableEnded
      const returned = res.end('ended')
      return [before, res.writableEnded, returned === res]
    })
    expect(value).toEqual([false, true, true])
    expect(body).toBe('begun ended0\r\n\r\n')
  })

  test('callbacks and events come in the order of Node', async () => {
    const orders: string[][] = []
    const act = (res: ServerResponse): void => {
      const order: string[] = []
      res.write('a', () => order.push('a'))
      res.write('b', 'latin1', () => order.push('b'))
      for (const event of ['drain', 'finish']) res.on(event, () => order.push(event))
      res.on('close', () => orders.push(order))
      res.end('c', 'latin1', () => order.push('c'))
      order.push('handler')
    }
    const bare = createServer((_req, res) => act(res))
    const port = await listen(bare)
    onTestFinished(() => stop(bare))
    await (await fetch(`http://127.0.0.1:${port}`)).text()
    await held(act)
    await eventually(() => expect(orders).toHaveLength(2))
    expect(orders[0]).toContain('finish')
    expect(orders[1]).toEqual(orders[0])
  })

  test('writing after the end is the error that it is in Node', async () => {
    const codes: unknown[] = []
    const finished = Promise.withResolvers<void>()
    const { body } = await held((res) => {
      res.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code))
      res.end('ended')
      res.write('more', (error) => {
        codes.push((error as NodeJS.ErrnoException).code)
        finished.resolve()
      })
    })
    await finished.promise
    await nextTurn()
    expect(body).not.toContain('more')
    expect(codes).toEqual(['ERR_STREAM_WRITE_AFTER_END', 'ERR_STREAM_WRITE_AFTER_END'])
  })

  test('what cannot be written is refused at once', async () => {
    const { value, body } = await held((res) => {
      const codes: string[] = []
      for (const call of [() => res.write(7 as never), () => res.write(null), () => res.end({} as never)])
        try {
          call()
        } catch (error) {
          codes.push((error as { code: string }).code)
        }
      return codes
    })
    expect(value).toEqual(['ERR_INVALID_ARG_TYPE', 'ERR_STREAM_NULL_VALUES', 'ERR_INVALID_ARG_TYPE'])
    expect(body).toContain('ended')
  })

  test('a writer is told to wait, and then to go on', async () => {
    const order: unknown[] = []
    const { url } = await serve(async (_req, res, session) => {
      session.set('name', 'Ada')
      order.push(res.write('one'))
      await once(res, 'drain')
      order.push('drain', res.write('two'))
      res.end()
    })
    expect(await (await fetch(url)).text()).toBe('onetwo')
    expect(order).toEqual([false, 'drain', true])
  })

  test('nobody is told to go on who was not told to wait', async () => {
    const told = vi.fn()
    const { url } = await serve(async (_req, res, session) => {
      session.set('name', 'Ada')
      res.on('drain', told)
      res.flushHeaders()
      await released.promise
      res.end()
    })
    const released = Promise.withResolvers<void>()
    const response = await fetch(url)
    released.resolve()
    await response.text()
    expect(told).not.toHaveBeenCalled()
  })

  test('a writer that Node lets wait is told to go on by Node alone, when there is room', async () => {
    const drained = vi.fn()
    const response = Promise.withResolvers<ServerResponse>()
    const { port } = await serve((req, res, session) => {
      if (req.url === '/ping') return res.end()
      session.set('name', 'Ada')
      res.on('drain', drained)
      // More than the connection holds for a client that does not read.
      res.write(Buffer.alloc(64 * 1024 * 1024))
      response.resolve(res)
    })
    const wire = new Wire(port)
    wire.socket.removeAllListeners('data').pause()
    wire.get()
    const res = await response.promise
    while (!res.writableNeedDrain) await nextTurn()
    await quiet(port)
    expect(drained).not.toHaveBeenCalled()
    wire.socket.resume()
    await once(res, 'drain')
    expect(drained).toHaveBeenCalledTimes(1)
  })

  test('a Vary given in pieces is added to', async () => {
    const { url } = await serve((_req, res, session) => {
      session.set('name', 'Ada')
      res.setHeader('Vary', ['Accept', 'Origin']).end()
    })
    expect((await fetch(url)).headers.get('vary')).toBe('Accept, Origin, Cookie')
  })

  test('a header array given by the application is not written into', async () => {
    const cookies = ['a=1']
    const pairs = ['Set-Cookie', cookies, 'Set-Cookie', 'b=2']
    const { url } = await serve((req, res, session) => {
      session.set('name', 'Ada')
      if (req.url === '/set') res.setHeader('Set-Cookie', cookies).end()
      else res.writeHead(200, pairs as unknown as string[]).end()
    })
    expect((await fetch(`${url}set`)).headers.getSetCookie()).toHaveLength(2)
    expect((await fetch(url)).headers.getSetCookie()).toHaveLength(3)
    expect(cookies).toEqual(['a=1'])
  })

  test('what Node refuses in writeHead is thrown there, nothing is committed, and another answer can be given', async () => {
    const { url, store } = await serve((req, res, session) => {
      session.set('name', 'Ada')
      const calls: Record<string, () => unknown> = {
        '/status': () => res.writeHead(99),
        '/name': () => res.writeHead(200, { 'bad name': '1' }),
        '/value': () => res.writeHead(200, { 'X-A': 'a\nb' }),
        '/odd': () => res.writeHead(200, ['X-A']),
        '/list': () => res.writeHead(200, [['X-A']] as unknown as string[]),
        '/implicit': () => {
          res.statusCode = NaN
          res.end('text')
        },
      }
      try {
        calls[req.url!]!()
      } catch (error) {
        res.statusCode = 500
        res.end((error as { code: string }).code)
      }
    })
    for (const [path, code] of [
      ['status', 'ERR_HTTP_INVALID_STATUS_CODE'],
      ['name', 'ERR_INVALID_HTTP_TOKEN'],
      ['value', 'ERR_INVALID_CHAR'],
      ['odd', 'ERR_INVALID_ARG_VALUE'],
      ['list', 'ERR_HTTP_INVALID_HEADER_VALUE'],
      ['implicit', 'ERR_HTTP_INVALID_STATUS_CODE'],
    ]) {
      const response = await fetch(url + path)
      expect([response.status, await response.text()]).toEqual([500, code])
    }
    expect(store.calls).toEqual([])
  })
})

test('a head that Node refuses after the commit leaves one cookie for the next', async () => {
  const { url } = await serve(async (req, res, session) => {
    if (req.url === '/plant') return (session.set('visits', 1), res.end())
    await session.destroy()
    expect(() => res.writeHead(200, 'a\nb')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_CHAR' }))
    res.statusMessage = 'Fine'
    res.end()
  })
  const cookie = await planted(url)
  const response = await fetch(url, { headers: { cookie } })
  expect([response.status, response.statusText]).toEqual([200, 'Fine'])
  expect(response.headers.getSetCookie()).toEqual([expect.stringContaining('session=; Max-Age=0')])
})

describe('streams', () => {
  const CHUNK = 64 * 1024
  const CHUNKS = 1024

  /** 64 MiB, made as they are read; says how much has been. */
  function large() {
    const hash = createHash('sha256')
    const made = { chunks: 0, hash }
    const source = new Readable({
      highWaterMark: CHUNK,
      read() {
        if (made.chunks === CHUNKS) return void this.push(null)
        const bytes = Buffer.alloc(CHUNK, made.chunks++)
        hash.update(bytes)
        this.push(bytes)
      },
    })
    return { source, made }
  }

  test('a large one is neither read ahead while held, nor faster than the client reads, and arrives whole', async () => {
    const { source, made } = large()
    const response = Promise.withResolvers<ServerResponse>()
    const { port, store } = await serve((req, res, session) => {
      if (req.url === '/ping') return res.end()
      session.set('name', 'Ada')
      res.setHeader('Content-Length', CHUNK * CHUNKS)
      source.pipe(res)
      response.resolve(res)
    })
    const { reached, open } = gate(store, 'create')
    const wire = new Wire(port)
    wire.socket.removeAllListeners('data').pause()
    wire.get('/', 'Connection: close')
    await reached
    await quiet(port)
    expect(made.chunks).toBeLessThanOrEqual(3)

    open()
    const res = await response.promise
    while (!res.writableNeedDrain) await nextTurn()
    expect(made.chunks).toBeLessThan(CHUNKS)

    const hash = createHash('sha256')
    let head = ''
    let length = 0
    for await (const bytes of wire.socket as AsyncIterable<Buffer>) {
      let body = bytes
      if (!head.endsWith('\r\n\r\n')) {
        const text = head + bytes.toString('latin1')
        const end = text.indexOf('\r\n\r\n') + 4
        body = bytes.subarray(end - head.length)
        head = text.slice(0, end)
      }
      hash.update(body)
      length += body.length
    }
    expect(head).toContain('Set-Cookie: session=')
    expect(length).toBe(CHUNK * CHUNKS)
    expect(hash.digest('hex')).toBe(made.hash.digest('hex'))
  })

  /** Compresses all but images, as such middleware does: from a stream of its own, to which it diverts those who wait for 'drain'. */
  const compressing: Layer = (_req, res, next) => {
    const { write, end, on, writeHead } = res as unknown as Record<string, (...args: unknown[]) => unknown>
    const gzip = createGzip()
    const waiting: ((...args: unknown[]) => void)[] = []
    let hasBegun = false
    let isPlain = false
    const begin = (): void => {
      if (!res.headersSent) res.writeHead(res.statusCode)
    }
    Object.assign(res, {
      writeHead(...args: unknown[]) {
        if (!hasBegun) {
          hasBegun = true
          isPlain = String(res.getHeader('Content-Type')).startsWith('image/')
          if (!isPlain) {
            res.setHeader('Content-Encoding', 'gzip')
            res.removeHeader('Content-Length')
          }
          for (const listener of waiting)
            if (isPlain) on!.call(res, 'drain', listener)
            else gzip.on('drain', listener)
        }
        return writeHead!.apply(res, args)
      },
      write: (chunk: Buffer) => (begin(), isPlain ? write!.call(res, chunk) : gzip.write(chunk)),
      end: (chunk?: Buffer) => (begin(), isPlain ? end!.call(res, chunk) : gzip.end(chunk), res),
      on(event: string, listener: () => void) {
        if (event !== 'drain') return on!.call(res, event, listener)
        if (hasBegun) gzip.on('drain', listener)
        else waiting.push(listener)
        return res
      },
    })
    gzip.on('data', (bytes) => {
      if (write!.call(res, bytes) === false) gzip.pause()
    })
    gzip.on('end', () => end!.call(res))
    on!.call(res, 'drain', () => gzip.resume())
    next()
  }

  for (const side of ['outside', 'inside'] as const)
    for (const size of [10, 300_000])
      test(`${size} bytes arrive through a compressing middleware ${side} of ours`, async () => {
        const { url, store } = await serve(
          (_req, res, session) => {
            session.set('name', 'Ada')
            Readable.from(pieces(size)).pipe(res)
          },
          { [side]: compressing },
        )
        store.before = () => nextTurn()
        const response = await fetch(url)
        expect(response.headers.get('content-encoding')).toBe('gzip')
        expect(response.headers.getSetCookie()).toHaveLength(1)
        expect(await response.text()).toBe('x'.repeat(size))
      })

  function* pieces(size: number): Generator<Buffer> {
    for (let left = size; left > 0; left -= 10_000) yield Buffer.alloc(Math.min(left, 10_000), 'x')
  }

  test('one who waits for drain before the answer begins is told through a compressing middleware too', async () => {
    const { url, store } = await serve(
      (_req, res, session) => {
        session.set('name', 'Ada')
        res.once('drain', () => res.end('two'))
        expect(res.write('one')).toBe(false)
      },
      { outside: compressing },
    )
    store.before = () => nextTurn()
    expect(await (await fetch(url)).text()).toBe('onetwo')
  })

  test('and once, where that lets the answer be', async () => {
    const told = vi.fn()
    const { url, store } = await serve(
      (_req, res, session) => {
        session.set('name', 'Ada')
        res.setHeader('Content-Type', 'image/png')
        res.on('drain', told)
        res.once('drain', () => setImmediate(() => res.end('two')))
        res.write('one')
      },
      { outside: compressing },
    )
    store.before = () => nextTurn()
    const response = await fetch(url)
    expect([response.headers.get('content-encoding'), await response.text()]).toEqual([null, 'onetwo'])
    expect(told).toHaveBeenCalledTimes(1)
  })

  for (const side of ['outside', 'inside'] as const)
    test(`a middleware ${side} of ours that sets headers as the head leaves, once, keeps them and ours`, async () => {
      let calls = 0
      const onHeaders: Layer = (_req, res, next) => {
        const { writeHead } = res as unknown as { writeHead: (...args: unknown[]) => ServerResponse }
        res.writeHead = (...args: unknown[]) => {
          calls++
          res.setHeader('X-Time', '1')
          res.setHeader('Set-Cookie', ['theirs=1'])
          return writeHead.apply(res, args)
        }
        next()
      }
      const { url, store } = await serve(
        (req, res, session) => {
          session.set('name', 'Ada')
          if (req.url === '/implicit') res.end('text')
          else res.writeHead(201).end('text')
        },
        { [side]: onHeaders },
      )
      store.before = () => nextTurn()
      for (const path of ['implicit', 'explicit']) {
        calls = 0
        const response = await fetch(url + path)
        expect(calls).toBe(1)
        expect(response.headers.get('x-time')).toBe('1')
        // One outside of ours that replaces all cookies has the last word, with or without us.
        const expected = side === 'inside' ? ['theirs=1', expect.stringMatching(/^session=/)] : ['theirs=1']
        expect(response.headers.getSetCookie()).toEqual(expected)
      }
    })
})

describe('when the session cannot be committed', () => {
  const UNAVAILABLE = {
    information: [],
    status: 'HTTP/1.1 503 Service Unavailable',
    headers: [
      'cache-control: no-store',
      'connection: close',
      'content-length: 19',
      'content-type: text/plain; charset=utf-8',
      'date',
      'retry-after: 1',
    ],
    body: 'Service Unavailable',
  }
  const FAILED = {
    information: [],
    status: 'HTTP/1.1 500 Internal Server Error',
    headers: [
      'cache-control: no-store',
      'connection: close',
      'content-length: 21',
      'content-type: text/plain; charset=utf-8',
      'date',
    ],
    body: 'Internal Server Error',
  }

  /** Ways to answer that leave all sorts of things behind. */
  const ways: Record<string, (res: ServerResponse) => unknown> = {
    'end with text': (res) => res.end('secret'),
    'headers and a reason': (res) => {
      res.statusMessage = 'Fine'
      res.setHeader('Set-Cookie', ['secret=1'])
      res.setHeader('Content-Encoding', 'gzip')
      res.setHeader('Content-Length', 600)
      res.setHeader('Date', 'secret')
      res.setHeader('ETag', '"secret"')
      res.write('secret')
      res.end('secret')
    },
    'writeHead with headers and a reason': (res) =>
      res.writeHead(201, 'Secret', { 'Content-Length': 6, 'Set-Cookie': 'secret=1' }).end('secret'),
    'a redirect': (res) => res.writeHead(302, { Location: '/secret' }).end(),
    'no body': (res) => res.writeHead(204, { 'X-Secret': '1' }).end(),
    'chunks and trailers': (res) => {
      res.writeHead(200, { Trailer: 'X-Secret', 'Transfer-Encoding': 'chunked' })
      res.write('secret')
      res.addTrailers({ 'X-Secret': '1' })
      res.end()
    },
    'flushHeaders and no end': (res) => res.flushHeaders(),
    'a write and no end': (res) => res.write('secret'),
    'a pipe': (res) => Readable.from(['secret', 'secret', 'secret']).pipe(res),
  }

  for (const [way, act] of Object.entries(ways))
    test(`nothing of the handler’s answer is left: ${way}`, async () => {
      const onError = vi.fn()
      const { port, store, url } = await serve(
        (req, res, session) => {
          if (req.url === '/list') session.set('list', [])
          else if (req.url === '/now') {
            // Found out at once: nothing is held.
            const list = session.get('list')!
            list.push(1n)
          } else session.set('name', 'Ada')
          act(res)
        },
        { options: { onError } },
      )
      store.fail('create')
      const lines = (path: string) => [`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close']
      const wire = new Wire(port)
      wire.send(...lines('/'))
      expect(parse(await wire.end())).toEqual(UNAVAILABLE)
      // The store tells of its failures itself.
      expect(onError).not.toHaveBeenCalled()

      store.heal()
      const cookie = await plantedList(url)
      const other = new Wire(port)
      other.send(...lines('/now'), `Cookie: ${cookie}`)
      expect(parse(await other.end())).toEqual(FAILED)
      expect(onError).toHaveBeenCalledTimes(1)
      expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'ERR_SESSION_VALUE' })
      expect(onError.mock.calls[0]![1]).toMatchObject({ url: '/now' })
    })

  /** A session that has a list. */
  async function plantedList(url: string): Promise<string> {
    const response = await fetch(`${url}list`, { redirect: 'manual', signal: AbortSignal.timeout(15_000) })
    void response.body?.cancel()
    return response.headers
      .getSetCookie()
      .find((line) => line.startsWith('session='))!
      .split(';')[0]!
  }

  test('HEAD is answered without the body', async () => {
    const { port, store } = await serve(
      (_req, res, session) => (session.set('name', 'Ada'), res.end('secret')),
    )
    store.fail('create')
    const wire = new Wire(port)
    wire.send('HEAD / HTTP/1.1', 'Host: localhost', 'Connection: close')
    expect(parse(await wire.end())).toEqual({ ...UNAVAILABLE, body: '' })
  })

  test('the connection serves the next request', async () => {
    const { port, store } = await serve((req, res, session) => {
      if (req.url === '/first') session.set('name', 'Ada')
      res.write('secret')
      res.end()
    })
    store.fail('create')
    const wire = new Wire(port)
    wire.get('/first')
    await wire.until('Service Unavailable')
    await wire.until('19\r\n')
    wire.received = ''
    wire.get('/', 'Connection: close')
    expect(parse(await wire.end())).toMatchObject({
      status: 'HTTP/1.1 200 OK',
      body: 'secret0\r\n\r\n',
    })
  })

  test('what the handler does later comes to nothing, harmlessly', async () => {
    const order: unknown[] = []
    const { port, store } = await serve(async (_req, res, session) => {
      session.set('name', 'Ada')
      res.on('error', (error) => order.push(error))
      res.write('secret', (error) => order.push('write', error))
      await once(res, 'drain')
      order.push('drain', res.headersSent, res.writableEnded)
      res.statusCode = NaN
      order.push(res.write('secret', 'latin1', (error) => order.push('late write', error)))
      res.flushHeaders()
      order.push(res.writeHead(200) === res)
      order.push(
        res.end('secret', (error?: Error) => {
          order.push('late end', error)
          done.resolve()
        }) === res,
      )
    })
    const done = Promise.withResolvers<void>()
    store.fail('create')
    const wire = new Wire(port)
    wire.get('/', 'Connection: close')
    expect(parse(await wire.end())).toEqual(UNAVAILABLE)
    await done.promise
    await nextTurn()
    expect(order).toEqual([
      ...['write', undefined],
      ...['drain', true, true],
      true,
      true,
      true,
      ...['late write', undefined],
      ...['late end', undefined],
    ])
  })

  test('what a header set too late throws is Node’s own', async () => {
    const code = Promise.withResolvers<unknown>()
    const { url, store } = await serve(async (_req, res, session) => {
      session.set('name', 'Ada')
      res.write('secret')
      await once(res, 'drain')
      try {
        res.setHeader('X-Late', '1')
      } catch (error) {
        code.resolve((error as { code: string }).code)
      }
    })
    store.fail('create')
    expect((await fetch(url)).status).toBe(503)
    expect(await code.promise).toBe('ERR_HTTP_HEADERS_SENT')
  })

  test('the error is printed where no onError is given', async () => {
    const error = vi.spyOn(console, 'error').mockImplementation(() => {})
    onTestFinished(() => error.mockRestore())
    const { url } = await serve((_req, res, session) => {
      session.set('list', [])
      session.get('list')!.push(() => {})
      res.end()
    })
    expect((await fetch(url)).status).toBe(500)
    expect(error).toHaveBeenCalledWith(expect.objectContaining({ code: 'ERR_SESSION_VALUE' }))
  })

  test('what waited in line and is refused by Node breaks the answer off, and is reported', async () => {
    const onError = vi.fn()
    const { port } = await serve(
      (_req, res, session) => {
        session.set('name', 'Ada')
        res.write('6869', 'no-such-encoding' as BufferEncoding)
      },
      { options: { onError } },
    )
    const wire = new Wire(port)
    wire.get()
    expect(await wire.end()).not.toContain('0\r\n\r\n')
    expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'ERR_UNKNOWN_ENCODING' })
  })

  test('a compressing middleware below has no part in it', async () => {
    const { url, store } = await serve(
      (_req, res, session) => (session.set('name', 'Ada'), res.end('secret')),
      {
        inside: (_req, res, next) => {
          const { end } = res
          res.end = function (this: ServerResponse) {
            this.setHeader('Content-Encoding', 'gzip')
            return end.call(this, 'no gzip', 'latin1')
          } as typeof end
          next()
        },
      },
    )
    store.fail('create')
    const response = await fetch(url)
    expect([response.status, response.headers.get('content-encoding')]).toEqual([503, null])
    expect(await response.text()).toBe('Service Unavailable')
  })
})

describe('connections', () => {
  test('answers to pipelined requests come in order, however long the first is held', async () => {
    const second = Promise.withResolvers<void>()
    const { port, store } = await serve((req, res, session) => {
      if (req.url === '/ping') return res.end()
      if (req.url === '/first') session.set('name', 'Ada')
      res.end(`answer to ${req.url}`)
      if (req.url === '/second') second.resolve()
    })
    const { reached, open } = gate(store, 'create')
    const wire = new Wire(port)
    wire.get('/first')
    wire.get('/second', 'Connection: close')
    await Promise.all([reached, second.promise])
    await quiet(port)
    expect(wire.received).toBe('')
    open()
    const received = await wire.end()
    expect(received.indexOf('answer to /first')).toBeGreaterThan(0)
    expect(received.indexOf('answer to /second')).toBeGreaterThan(received.indexOf('answer to /first'))
    expect(received.match(/Set-Cookie/g)).toHaveLength(1)
  })

  test('Expect: 100-continue is answered before the handler asks for the body', async () => {
    const { port } = await serve(async (req, res, session) => {
      session.set('name', 'Ada')
      for await (const bytes of req) res.write(bytes)
      res.end()
    })
    const wire = new Wire(port)
    wire.send(
      'POST / HTTP/1.1',
      'Host: localhost',
      'Expect: 100-continue',
      'Content-Length: 4',
      'Connection: close',
    )
    await wire.until('100 Continue')
    wire.socket.write('body')
    expect(parse(await wire.end()).body).toBe('body0\r\n\r\n')
  })

  for (const [name, fault] of [
    ['and is saved', null],
    ['and its commit fails', 'create'],
  ] as const)
    test(`a client that goes while the answer is held harms nothing, ${name}`, async () => {
      const closed = Promise.withResolvers<void>()
      const done = Promise.withResolvers<void>()
      const { port, store, url } = await serve((req, res, session) => {
        if (req.url === '/ping') return res.end()
        session.set('name', 'Ada')
        res.on('close', closed.resolve)
        res.write('text', () => done.resolve())
        res.end('text')
      })
      const { reached, open } = gate(store, 'create')
      const wire = new Wire(port)
      wire.get()
      await reached
      wire.socket.destroy()
      await closed.promise
      if (fault !== null) store.fail(fault)
      open()
      await done.promise
      expect(store.calls.filter(([operation]) => operation === 'create')).toHaveLength(fault === null ? 1 : 3)
      expect(wire.received).toBe('')
      expect((await fetch(`${url}ping`)).status).toBe(200)
    })

  test('a handler that answers a client long gone still has its session saved', async () => {
    const { port, store } = await serve(async (_req, res, session) => {
      begun.resolve()
      await once(res, 'close')
      session.set('name', 'Ada')
      res.end('text')
    })
    const begun = Promise.withResolvers<void>()
    const { reached, open } = gate(store, 'create')
    const wire = new Wire(port)
    wire.get()
    await begun.promise
    wire.socket.destroy()
    await reached
    open()
    expect(store.calls).toContainEqual(['create', expect.any(String)])
  })

  test('the application may destroy the response, held or not', async () => {
    const { port, store } = await serve((req, res, session) => {
      if (req.url === '/held') {
        session.set('name', 'Ada')
        res.write('text')
      }
      res.destroy()
      res.end()
    })
    store.before = () => nextTurn()
    for (const path of ['/', '/held']) {
      const wire = new Wire(port)
      wire.get(path)
      expect(await wire.end()).toBe('')
    }
  })
})

describe('HTTP/2', () => {
  const warnings: string[] = []
  const keepWarning = ({ name }: Error): unknown => warnings.push(name)
  beforeAll(() => void process.on('warning', keepWarning))
  afterAll(() => {
    process.off('warning', keepWarning)
    // It has no reason phrase, and tells who asks for one.
    expect(warnings).not.toContain('UnsupportedWarning')
  })

  async function serve2(
    handle: (req: http2.Http2ServerRequest, res: http2.Http2ServerResponse, session: Session) => unknown,
  ) {
    const store = new FaultyStore(new MemorySessionStore())
    store.before = () => nextTurn()
    const withSession = sessionMiddleware({ store, cookie: COOKIE, storeTimeout: 10 })
    const server = http2.createServer((req, res) =>
      withSession(req, res, () => void handle(req, res, getSession(req))),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = http2.connect(`http://127.0.0.1:${(server.address() as { port: number }).port}`)
    onTestFinished(() => {
      client.destroy()
      server.close()
    })
    return {
      store,
      client,
      async get(headers: http2.OutgoingHttpHeaders = {}) {
        const stream = client.request({ ':path': '/', ...headers })
        const [received] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
        const trailers: unknown[] = []
        stream.on('trailers', (lines) => trailers.push({ ...lines }))
        let body = ''
        for await (const bytes of stream.setEncoding('latin1')) body += bytes
        return { headers: received, body, trailers, status: received[':status'] }
      },
    }
  }

  test('the session is kept, and the application’s headers with it', async () => {
    const { get, store } = await serve2((_req, res, session) => {
      session.update('visits', (n) => Number(n ?? 0) + 1)
      res.writeHead(201, { 'set-cookie': ['a=1', 'b=2'], 'x-a': '1' })
      res.write('visit ')
      res.addTrailers({ 'x-sum': '1' })
      res.end(String(session.get('visits')))
    })
    const first = await get()
    expect(first).toMatchObject({ status: 201, body: 'visit 1', trailers: [{ 'x-sum': '1' }] })
    expect(first.headers).toMatchObject({
      'set-cookie': ['a=1', 'b=2', expect.stringMatching(/^session=/)],
      vary: 'Cookie',
      'cache-control': 'no-store',
      'x-a': '1',
    })
    const cookie = first.headers['set-cookie']![2]!.split(';')[0]!
    const second = await get({ cookie })
    expect(second.body).toBe('visit 2')
    expect(second.headers['set-cookie']).toEqual(['a=1', 'b=2'])
    expect(store.calls.map(([operation]) => operation)).toEqual(['create', 'load', 'replace'])
  })

  test('an answer that is held looks as if its headers had been sent', async () => {
    const seen: unknown[] = []
    const { get } = await serve2((_req, res, session) => {
      session.set('name', 'Ada')
      seen.push(res.headersSent, res.write('one'), res.headersSent)
      expect(() => res.setHeader('x-late', '1')).toThrow('headers')
      res.end('two')
      seen.push(res.writableEnded)
    })
    expect(await get()).toMatchObject({ status: 200, body: 'onetwo' })
    expect(seen).toEqual([false, false, true, true])
  })

  test('flushHeaders, pipes, HEAD and 204 work', async () => {
    const { get } = await serve2((req, res, session) => {
      session.set('name', 'Ada')
      if (req.url === '/flush') {
        // There, though its types do not say so.
        ;(res as unknown as ServerResponse).flushHeaders()
        res.end('flushed')
      } else if (req.url === '/pipe') Readable.from(['one', 'two']).pipe(res)
      else if (req.url === '/204') res.writeHead(204).end()
      else res.end('text')
    })
    expect((await get({ ':path': '/flush' })).body).toBe('flushed')
    expect((await get({ ':path': '/pipe' })).body).toBe('onetwo')
    for (const request of [{ ':path': '/204' }, { ':method': 'HEAD' }]) {
      const { body, headers } = await get(request)
      expect(body).toBe('')
      expect(headers['set-cookie']).toHaveLength(1)
    }
  })

  test('a commit that fails answers 503, and nothing of the handler’s', async () => {
    const { get, store } = await serve2((_req, res, session) => {
      session.set('name', 'Ada')
      res.setHeader('x-secret', '1')
      res.write('secret')
      res.end('secret')
    })
    store.fail('create')
    const { headers, ...rest } = await get()
    expect(rest).toMatchObject({ status: 503, body: 'Service Unavailable' })
    expect(Object.keys(headers).toSorted()).toEqual([
      ':status',
      'cache-control',
      'content-length',
      'content-type',
      'date',
      'retry-after',
    ])
  })

  for (const [name, fault] of [
    ['and is saved', null],
    ['and its commit fails', 'create'],
  ] as const)
    test(`a client that goes while the answer is held harms nothing, ${name}`, async () => {
      const closed = Promise.withResolvers<void>()
      const done = Promise.withResolvers<void>()
      const { client, store, get } = await serve2((req, res, session) => {
        if (req.url === '/next') return res.end('next')
        session.set('name', 'Ada')
        res.on('close', closed.resolve)
        res.write('text', () => done.resolve())
        res.end('text')
      })
      const { reached, open } = gate(store, 'create')
      const stream = client.request({ ':path': '/' })
      await reached
      stream.close(http2.constants.NGHTTP2_CANCEL)
      await closed.promise
      if (fault !== null) store.fail(fault)
      open()
      await done.promise
      expect((await get({ ':path': '/next' })).body).toBe('next')
    })
})

describe('the middleware', () => {
  test('calls next at once where the request has no cookie, and asks the store for nothing', async () => {
    const store = new FaultyStore(new MemorySessionStore())
    const withSession = sessionMiddleware({ store, cookie: COOKIE })
    const steps: string[] = []
    const server = createServer((req, res) => {
      const returned = withSession(req, res, () => {
        steps.push('next')
        res.end()
      })
      steps.push(returned === undefined ? 'returned' : 'returned a promise')
    })
    onTestFinished(() => stop(server))
    await fetch(`http://127.0.0.1:${await listen(server)}`)
    expect(steps).toEqual(['next', 'returned'])
    expect(store.calls).toEqual([])
  })

  test('hands on what next returns, at once or later', async () => {
    const withSession = sessionMiddleware({ cookie: COOKIE })
    const results: unknown[] = []
    const server = createServer(async (req, res) => {
      results.push(await withSession(req, res, (async () => 'from next') as unknown as () => void))
      const failure: unknown = await Promise.resolve(
        withSession(req, res, async () => {
          throw new Error('from next')
        }),
      ).catch((error: unknown) => (error as Error).message)
      results.push(failure)
      res.end()
    })
    onTestFinished(() => stop(server))
    const url = `http://127.0.0.1:${await listen(server)}`
    await fetch(url)
    await fetch(url, { headers: { cookie: `session=${'A'.repeat(43)}` } })
    expect(results).toEqual(['from next', 'from next', 'from next', 'from next'])
  })

  test('gives the error to next when the store fails to open the session, and calls no handler', async () => {
    const handle = vi.fn()
    const { url, store } = await serve(handle)
    store.fail('load')
    const response = await fetch(url, { headers: { cookie: `session=${'A'.repeat(43)}` } })
    expect([response.status, await response.text()]).toEqual([503, 'from the error handler'])
    expect(response.headers.getSetCookie()).toEqual([])
    expect(handle).not.toHaveBeenCalled()
  })

  test('lets what next throws out, without calling it twice', async () => {
    const store = new FaultyStore(new MemorySessionStore())
    const withSession = sessionMiddleware({ store, cookie: COOKIE })
    const calls: unknown[] = []
    const server = createServer((req, res) => {
      res.setHeader('Connection', 'close')
      try {
        const returned = withSession(req, res, (error) => {
          calls.push(error)
          res.end()
          throw new Error('thrown by next')
        })
        calls.push(returned instanceof Promise)
      } catch (error) {
        calls.push((error as Error).message)
      }
    })
    onTestFinished(() => stop(server))
    const url = `http://127.0.0.1:${await listen(server)}`
    await fetch(url)
    expect(calls.splice(0)).toEqual([undefined, 'thrown by next'])

    for (const error of [undefined, expect.objectContaining({ code: 'ERR_SESSION_STORE' })]) {
      if (error !== undefined) store.fail('load')
      const uncaught = nextUncaught()
      await fetch(url, { headers: { cookie: `session=${'A'.repeat(43)}` } })
      expect(await uncaught).toMatchObject({ message: 'thrown by next' })
      expect(calls.splice(0)).toEqual([true, error])
    }
  })

  /** The next uncaught exception, in the place of the test runner's own listeners. */
  function nextUncaught(): Promise<unknown> {
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    return new Promise((resolve) =>
      process.once('uncaughtException', (error) => {
        for (const listener of listeners) process.on('uncaughtException', listener)
        resolve(error)
      }),
    )
  }

  test('leaves requests alone that are to be skipped', async () => {
    const handle = vi.fn((req: IncomingMessage, res: ServerResponse) => {
      let code: unknown
      try {
        getSession(req)
      } catch (error) {
        code = (error as { code: string }).code
      }
      res.end(`${String(code)} ${Object.hasOwn(res, 'end')} ${Context.current() !== undefined}`)
    })
    const withSession = sessionMiddleware({ cookie: COOKIE }, { skip: (req) => req.url === '/static' })
    const server = createServer((req, res) => withSession(req, res, () => handle(req, res)))
    onTestFinished(() => stop(server))
    const url = `http://127.0.0.1:${await listen(server)}`
    expect(await (await fetch(`${url}/static`)).text()).toBe('ERR_SESSION_NO_MIDDLEWARE false false')
    expect(await (await fetch(`${url}/page`)).text()).toBe('undefined true true')
  })

  test('commits what the context holds at the end', async () => {
    const { url, store } = await serve((_req, res, session) => {
      session.set('name', 'dropped')
      Context.current<AppSession>()!.session = new Session<AppSession>().set('name', 'kept')
      res.end()
    })
    const response = await fetch(url)
    expect(response.headers.getSetCookie()).toHaveLength(1)
    const id = store.calls.find(([operation]) => operation === 'create')![1]!
    expect((await store.get(id))!.toJSON().data).toEqual({ name: 'kept' })
  })

  test('has Context.current() find the request’s own, across awaits, events and other requests', async () => {
    const both = Promise.withResolvers<void>()
    let arrived = 0
    const { url } = await serve(async (req, res) => {
      if (++arrived === 2) both.resolve()
      await both.promise
      await nextTurn()
      const paths = [(Context.current()!.request as IncomingMessage).url]
      res.on('finish', () => paths.push((Context.current()!.request as IncomingMessage).url))
      await pipeline(Readable.from([String(paths[0])]), res)
      await nextTurn()
      seen.push([req.url, ...paths])
      if (seen.length === 2) done.resolve()
    })
    const seen: (string | undefined)[][] = []
    const done = Promise.withResolvers<void>()
    const texts = await Promise.all(['a', 'b'].map(async (path) => (await fetch(url + path)).text()))
    await done.promise
    expect(texts).toEqual(['/a', '/b'])
    expect(new Set(seen.map((paths) => paths.join()))).toEqual(new Set(['/a,/a,/a', '/b,/b,/b']))
  })

  test('is no use to getSession where it is missing, and says so', async () => {
    expect(() => getSession(Object.create(null) as object)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_NO_MIDDLEWARE' }),
    )
  })

  describe('twice in one application', () => {
    async function serveTwo(
      handle: (req: IncomingMessage, res: ServerResponse) => unknown,
      onError: (error: unknown) => void = () => {},
    ) {
      const stores = [
        new FaultyStore(new MemorySessionStore()),
        new FaultyStore(new MemorySessionStore()),
      ] as const
      const user = createSessions<AppSession>({ store: stores[0], cookie: COOKIE })
      const admin = createSessions<AppSession>({ store: stores[1], cookie: { secure: false, name: 'admin' } })
      const [first, second] = [sessionMiddleware(user, { onError }), sessionMiddleware(admin, { onError })]
      const server = createServer((req, res) =>
        first(req, res, () => second(req, res, () => void handle(req, res))),
      )
      onTestFinished(() => stop(server))
      return { url: `http://127.0.0.1:${await listen(server)}`, stores, user, admin }
    }

    test('each has a session and a cookie of its own', async () => {
      const { url, stores, user, admin } = await serveTwo((req, res) => {
        getSession(req, user).set('name', 'Ada')
        getSession(req, admin).set('name', 'root')
        expect(getSession(req)).toBe(getSession(req, admin))
        res.writeHead(200, { 'Set-Cookie': 'a=1' }).end('text')
      })
      for (const store of stores) store.before = () => nextTurn()
      const response = await fetch(url)
      expect(await response.text()).toBe('text')
      expect(response.headers.getSetCookie().toSorted()).toEqual([
        'a=1',
        expect.stringMatching(/^admin=/),
        expect.stringMatching(/^session=/),
      ])
      expect(response.headers.get('vary')).toBe('Cookie')
    })

    test('one that fails takes the answer over, and what the other committed holds', async () => {
      const { url, stores, user, admin } = await serveTwo((req, res) => {
        getSession(req, user).set('name', 'Ada')
        getSession(req, admin).set('name', 'root')
        res.end('secret')
      })
      stores[1].fail('create')
      const response = await fetch(url)
      expect([response.status, await response.text()]).toEqual([503, 'Service Unavailable'])
      expect(response.headers.getSetCookie()).toEqual([expect.stringMatching(/^session=/)])
    })

    test('where both fail, and not for their stores alone, the answer is 500', async () => {
      const onError = vi.fn()
      const { url, stores, user, admin } = await serveTwo((req, res) => {
        getSession(req, user).set('name', 'Ada')
        getSession(req, admin).set('list', [])
        getSession(req, admin).get('list')!.push(1n)
        res.end('secret')
      }, onError)
      stores[0].fail('create')
      const response = await fetch(url)
      expect([response.status, await response.text()]).toEqual([500, 'Internal Server Error'])
      expect(onError.mock.calls.map(([error]) => (error as { code: string }).code)).toEqual([
        'ERR_SESSION_VALUE',
      ])
    })

    test('of one manager, the outer one counts', async () => {
      const sessions = createSessions<AppSession>({ cookie: COOKIE })
      const withSession = sessionMiddleware(sessions)
      const server = createServer((req, res) =>
        withSession(req, res, () => {
          const outer = getSession<AppSession>(req).set('name', 'Ada')
          void withSession(req, res, () => {
            expect(getSession(req)).toBe(outer)
            getSession<AppSession>(req).set('visits', 1)
            res.end()
          })
        }),
      )
      onTestFinished(() => stop(server))
      const response = await fetch(`http://127.0.0.1:${await listen(server)}`)
      expect(response.headers.getSetCookie()).toHaveLength(1)
    })
  })
})

describe('after the first byte', () => {
  test('save() keeps what is changed in a session that exists', async () => {
    const { url, store } = await serve(async (req, res, session) => {
      if (req.url === '/plant') return (session.set('visits', 1), res.end())
      res.write('one ')
      session.set('visits', 2)
      res.end(await session.save())
    })
    const cookie = await planted(url)
    store.before = () => nextTurn()
    expect(await (await fetch(url, { headers: { cookie } })).text()).toBe('one saved')
    const id = store.calls[0]![1]!
    expect((await store.get(id))!.toJSON().data).toEqual({ visits: 2 })
  })

  test('what needs a cookie throws', async () => {
    const codes: unknown[] = []
    const { url } = await serve((req, res, session) => {
      if (req.url === '/plant') return (session.set('visits', 1), res.end())
      res.write('one')
      for (const call of [
        () => session.set('name', 'Ada'),
        () => session.rotate(),
        () => session.signIn('ada'),
      ])
        try {
          call()
          codes.push('none')
        } catch (error) {
          codes.push((error as { code: string }).code)
        }
      res.end()
    })
    await fetch(url)
    expect(codes.splice(0)).toEqual(Array(3).fill('ERR_SESSION_HEADERS_SENT'))
    const cookie = await planted(url)
    await fetch(url, { headers: { cookie } })
    expect(codes).toEqual(['none', 'ERR_SESSION_HEADERS_SENT', 'ERR_SESSION_HEADERS_SENT'])
  })

  test('a middleware that comes after it lets sessions be read, and sets nothing', async () => {
    const { url, store } = await serve(
      (req, res, session) => {
        if (req.url === '/plant') return (session.set('visits', 1), res.end())
        let code = 'none'
        try {
          session.set('name', 'Ada')
        } catch (error) {
          ;({ code } = error as { code: string })
        }
        res.end(`${session.get('visits')} ${code}`)
      },
      { outside: (req, res, next) => (req.url !== '/plant' && res.write('begun '), next()) },
    )
    const cookie = await planted(url)
    expect(await (await fetch(url)).text()).toBe('begun undefined ERR_SESSION_HEADERS_SENT')
    const response = await fetch(url, { headers: { cookie } })
    expect(await response.text()).toBe('begun 1 none')
    expect(response.headers.getSetCookie()).toEqual([])
    expect(store.calls.map(([operation]) => operation)).toEqual(['create', 'load'])
  })
})
