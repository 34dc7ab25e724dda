import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer, get } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { Hono } from 'hono'
import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { sessionMiddleware as fetchMiddleware } from '../../src/adapters/fetch.ts'
import { sessionMiddleware as honoMiddleware } from '../../src/adapters/hono.ts'
import { sessionMiddleware as nodeMiddleware } from '../../src/adapters/node.ts'
import type { SendEvent } from '../../src/adapters/sse.ts'
import { eventStream } from '../../src/adapters/sse.ts'
import { Context } from '../../src/context.ts'
import type { Anything, Server } from '../support/core.ts'
import { arrive, serve, visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'
import { listen, stop } from '../support/http.ts'

type Begin = (send: SendEvent) => void | (() => void)

/** A client of a stream. */
interface Client {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  /** All that has come, once it contains this. */
  until(text: string): Promise<string>
  /** All that has come, once the stream is over. */
  end(): Promise<string>
  leave(): void
}

type Open = (core: Server, cookie: string | null, begin: Begin, heartbeat?: number) => Promise<Client>

/** What answers a request for the stream, by adapter. */
const ADAPTERS: readonly (readonly [string, Open])[] = [
  [
    'fetch',
    async ({ sessions, clock }, cookie, begin, heartbeat = 15) => {
      const handler = fetchMiddleware(sessions)((_, context) =>
        eventStream(context, begin, { heartbeat, clock }),
      )
      return reading(await handler(requestWith(cookie)))
    },
  ],
  [
    'Hono',
    async ({ sessions, clock }, cookie, begin, heartbeat = 15) => {
      const app = new Hono()
        .use(honoMiddleware(sessions))
        .get('/', () => eventStream(Context.current()!, begin, { heartbeat, clock }))
      return reading(await app.fetch(requestWith(cookie)))
    },
  ],
  [
    'node',
    async ({ sessions, clock }, cookie, begin, heartbeat = 15) => {
      const withSession = nodeMiddleware(sessions)
      const server = createServer((request, response) =>
        withSession(request, response, () =>
          eventStream(Context.current()!, begin, { heartbeat, clock }, response),
        ),
      )
      const port = await listen(server)
      onTestFinished(() => stop(server))
      const request = get({
        port,
        host: '127.0.0.1',
        headers: { host: 'localhost', ...(cookie !== null && { cookie }) },
      })
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      return receiving(response)
    },
  ],
]

describe.each(ADAPTERS)('over %s, a stream of events', (_, open) => {
  test('carries events of every kind as they are written down', async () => {
    const core = serve()
    const client = await open(core, null, (send) => {
      send({ data: 'plain' })
      send({ event: 'changed', id: '7', data: { a: [1] } })
      send({ data: 'two\nlines\r\nand\rmore' })
      send({ event: 'no\ninjection: x', data: undefined })
    })
    expect(client.status).toBe(200)
    expect(client.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    expect(await client.until(':\n\n')).toBe(
      'data: plain\n\nid: 7\nevent: changed\ndata: {"a":[1]}\n\ndata: two\ndata: lines\ndata: and\ndata: more\n\nevent: no injection: x\ndata: null\n\n:\n\n',
    )
    client.leave()
  })

  test('ends with its session, and says why', async () => {
    const core = serve()
    const cookie = await arrive(core.sessions)
    const ended = vi.fn<() => void>()
    const client = await open(core, cookie, () => ended)
    await client.until(':\n\n')
    expect(core.sessions.followed).toBe(1)
    await visit(core.other(), cookie, (session) => session.destroy())
    expect(await client.end()).toBe(':\n\nevent: session-ended\ndata: destroyed\n\n')
    await eventually(() => expect([core.sessions.followed, ended.mock.calls.length]).toEqual([0, 1]))
  })

  test('tells what others change', async () => {
    const core = serve()
    const cookie = await arrive(core.sessions)
    const client = await open(core, cookie, (send) => {
      Context.current<Anything>()!.onChange((keys, { data }) => void send({ data: [keys, data.n] }))
    })
    await client.until(':\n\n')
    await visit(core.other(), cookie, ({ data }) => (data.n = 5))
    await client.until('data: [["n"],5]\n\n')
    client.leave()
  })

  test('saves what was written before it, first', async () => {
    const core = serve()
    const client = await open(core, null, () => {
      Context.current<Anything>()!.session.data.n = 1
    })
    expect(client.headers['set-cookie']).toBeDefined()
    await client.until(':\n\n')
    expect([core.memory.size, core.sessions.followed]).toEqual([1, 1])
    client.leave()
    await eventually(() => expect(core.sessions.followed).toBe(0))
  })

  test('lets go of everything when its client goes away', async () => {
    const core = serve()
    const ended = vi.fn<() => void>()
    let send: SendEvent = () => true
    const client = await open(core, await arrive(core.sessions), (given) => {
      send = given
      return ended
    })
    await client.until(':\n\n')
    client.leave()
    await eventually(() => expect([core.sessions.followed, ended.mock.calls.length]).toEqual([0, 1]))
    expect(send({ data: 'late' })).toBe(false)
    core.asked()
    await core.clock.advance(120_000)
    expect(core.asked()).toEqual([])
  })

  test('is kept alive by comments', async () => {
    const core = serve()
    const client = await open(core, null, () => {}, 10)
    await client.until(':\n\n')
    await core.clock.advance(20_000)
    await client.until(':\n\n:\n\n:\n\n')
    client.leave()
  })

  test('ends where its client does not read', async () => {
    const core = serve()
    let sent = 0
    await open(core, await arrive(core.sessions), (send) => {
      const text = 'x'.repeat(100_000)
      // What the sockets' own buffers take does not count.
      while (sent < 1000 && send({ data: text })) sent++
    })
    expect(sent).toBeGreaterThan(9)
    expect(sent).toBeLessThan(200)
    await eventually(() => expect(core.sessions.followed).toBe(0))
  })
})

test('a heartbeat that is none is refused', () => {
  const context = new Context<Anything>()
  expect(() => eventStream(context, () => {}, { heartbeat: 0 })).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_ARGUMENT' }),
  )
})

describe('a request that asks for its signal is followed until its answer is through', () => {
  test.each([
    ['with a body', () => new Response('text')],
    ['without one', () => new Response(null, { status: 204 })],
    ['with a stream', () => new Response(new Blob(['a', 'b']).stream())],
  ])('over fetch, %s', async (_, answer) => {
    const core = serve()
    const cookie = await arrive(core.sessions)
    const handler = fetchMiddleware(core.sessions)((_, context) => {
      expect(context.signal.aborted).toBe(false)
      expect(core.sessions.followed).toBe(1)
      return answer()
    })
    const response = await handler(requestWith(cookie))
    expect(core.sessions.followed).toBe(response.body === null ? 0 : 1)
    await response.text()
    expect(core.sessions.followed).toBe(0)
  })

  test.each(['throw', 'store'])('over fetch, or failed: %s', async (kind) => {
    const core = serve()
    const cookie = await arrive(core.sessions)
    const handler = fetchMiddleware(core.sessions)((_, context) => {
      expect(context.signal.aborted).toBe(false)
      if (kind === 'throw') throw new RangeError('oops')
      context.session.data['a'] = 1
      core.store.fail('replace')
      return new Response('text')
    })
    await handler(requestWith(cookie)).catch(() => {})
    expect(core.sessions.followed).toBe(0)
  })

  test('over node, also when the client breaks off', async () => {
    const core = serve()
    const cookie = await arrive(core.sessions)
    const withSession = nodeMiddleware(core.sessions)
    let context: Context | undefined
    const server = createServer((request, response) =>
      withSession(request, response, () => {
        context = Context.current()!
        expect(context.signal.aborted).toBe(false)
        if (request.url === '/') response.end('text')
      }),
    )
    const port = await listen(server)
    onTestFinished(() => stop(server))
    const headers = { cookie, host: 'localhost' }
    const [response] = (await once(get({ port, host: '127.0.0.1', headers }), 'response')) as [
      IncomingMessage,
    ]
    response.resume()
    await once(response, 'end')
    await eventually(() => expect(core.sessions.followed).toBe(0))
    const request = get({ port, host: '127.0.0.1', path: '/hangs', headers })
    request.on('error', () => {})
    await eventually(() => expect(core.sessions.followed).toBe(1))
    request.destroy()
    await eventually(() => expect(core.sessions.followed).toBe(0))
    // Too late: nobody would let go of it.
    expect(context!.signal.aborted).toBe(false)
    expect(core.sessions.followed).toBe(0)
  })
})

function requestWith(cookie: string | null): Request {
  return new Request('https://localhost/', { headers: cookie === null ? {} : { cookie } })
}

function reading({ status, headers, body }: Response): Client {
  const reader = body!.getReader()
  const decoder = new TextDecoder()
  let received = ''
  const read = async (): Promise<boolean> => {
    const { done, value } = await reader.read()
    if (value !== undefined) received += decoder.decode(value)
    return !done
  }
  return {
    status,
    headers: { ...Object.fromEntries(headers), 'set-cookie': headers.getSetCookie()[0] },
    async until(text) {
      while (!received.includes(text))
        if (!(await read())) throw new Error(`Over before ${text}: ${received}`)
      return received
    },
    async end() {
      while (await read());
      return received
    },
    leave: () => void reader.cancel(),
  }
}

function receiving(response: IncomingMessage): Client {
  let received = ''
  let isOver = false
  let wake = (): void => {}
  let isReading = false
  const read = (): void => {
    if (isReading) return
    isReading = true
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      received += text
      wake()
    })
  }
  response.on('error', () => {})
  response.on('close', () => {
    isOver = true
    wake()
  })
  const change = (): Promise<void> => new Promise((resolve) => (wake = resolve))
  return {
    status: response.statusCode!,
    headers: response.headers,
    async until(text) {
      read()
      while (!received.includes(text)) {
        if (isOver) throw new Error(`Over before ${text}: ${received}`)
        await change()
      }
      await nextTurn()
      return received
    },
    async end() {
      read()
      while (!isOver) await change()
      return received
    },
    leave: () => void response.destroy(),
  }
}
