import { once } from 'node:events'
import { createServer } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'

import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { ClientOptions, WebSocket } from 'ws'
import { WebSocketServer } from 'ws'

import type { SocketContext, SocketOptions } from '../../src/adapters/ws.ts'
import { acceptSockets } from '../../src/adapters/ws.ts'
import type { SessionsOptions } from '../../src/options.ts'
import { connect, refusalOf } from '../sockets/client.ts'
import type { Anything } from '../support/core.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'
import { listen, stop, Wire } from '../support/http.ts'
import { published } from '../support/published.ts'

type Connected = (context: SocketContext<Anything>, socket: WebSocket) => void | Promise<void>

/** A server that takes sockets, whose sessions go by a clock that stands still. */
async function start(
  connected: Connected = () => {},
  options: SocketOptions = {},
  sessions: SessionsOptions = {},
) {
  const core = serve(sessions)
  const server = createServer((_, response) => void response.end())
  const sockets = new WebSocketServer({ noServer: true })
  const errors: unknown[] = []
  server.on(
    'upgrade',
    acceptSockets(core.sessions, sockets, connected, {
      onError: (error) => void errors.push(error),
      ...options,
    }),
  )
  const port = await listen(server)
  onTestFinished(async () => {
    for (const socket of sockets.clients) socket.terminate()
    await stop(server)
  })
  return { ...core, server, sockets, errors, port }
}

/** Answers each message with what the handler gives. */
function answering(
  handler: (context: SocketContext<Anything>['session'], text: string) => unknown,
): Connected {
  return (context, socket) => {
    socket.on(
      'message',
      context.callback(async ({ session }, data: Buffer) => {
        socket.send(JSON.stringify((await handler(session, data.toString())) ?? null))
      }),
    )
  }
}

describe('a socket is let in', () => {
  test('from a page of the own host', async () => {
    const { port, sessions } = await start()
    const cookie = await arrive(sessions)
    for (const origin of [
      `http://localhost:${port}`,
      `https://localhost:${port}`,
      `http://LOCALHOST:${port}`,
    ])
      expect((await connect(port, cookie, { origin })).socket.readyState).toBe(1)
    const headers = { host: 'example.com:443' }
    expect((await connect(port, cookie, { origin: 'https://example.com', headers })).socket.readyState).toBe(
      1,
    )
  })

  test('from a page on the list, and no other, the own host included', async () => {
    const { port } = await start(undefined, { origins: ['https://app.example.com', 'http://a.test:8080'] })
    await connect(port, null, { origin: 'https://app.example.com' })
    await connect(port, null, { origin: 'http://a.test:8080' })
    for (const origin of [
      'http://app.example.com',
      'https://app.example.com:8443',
      `http://localhost:${port}`,
    ])
      expect(await refusalOf(port, null, { origin })).toBe(403)
  })

  test('with its session, also where that is nobody’s', async () => {
    const seen: unknown[] = []
    const { port, sessions } = await start(({ session, request }) => {
      seen.push([session.userId, session.get('n'), (request as { url: string }).url])
    })
    await connect(port, await arrive(sessions, { n: 7 }, 'vera'), { path: '/live' })
    await connect(port, null)
    expect(seen).toEqual([
      ['vera', 7, '/live'],
      [null, undefined, '/'],
    ])
  })

  test('without an Origin, where that is allowed', async () => {
    const { port } = await start(undefined, { allowMissingOrigin: true })
    await connect(port, null, { origin: undefined! })
    expect(await refusalOf(port, null, { origin: 'null' })).toBe(403)
  })
})

describe('a socket is refused', () => {
  test.each([
    ['of another site', 'https://evil.example'],
    ['of a look-alike', 'http://localhost.evil.example'],
    ['of a look-alike with our host in front', 'http://localhost:PORT.evil.example'],
    ['of a look-alike with our host as its user', 'http://localhost:PORT@evil.example'],
    ['of a subdomain', 'http://evil.localhost:PORT'],
    ['of another port', 'http://localhost:1'],
    ['of a file or a sandbox, which is null', 'null'],
    ['of no web page', 'chrome-extension://localhost:PORT'],
    ['that is no URL', 'localhost'],
    ['that is empty', ''],
    ['in none', undefined],
    ['of two at once', 'http://localhost:PORT, http://localhost:PORT'],
  ])('with 403 from a page %s', async (_, origin) => {
    const events = published('holdfast:event')
    const connected = vi.fn<Connected>()
    const { port, sessions, asked } = await start(connected)
    const cookie = await arrive(sessions)
    asked()
    const options = origin === undefined ? { origin } : { origin: origin.replace('PORT', String(port)) }
    expect(await refusalOf(port, cookie, options as ClientOptions)).toBe(403)
    expect([connected.mock.calls, asked()]).toEqual([[], []])
    expect(events).toContainEqual({ kind: 'socket-refused', reason: 'origin' })
  })

  test('with 403 from pages whose host begins, or ends, as the own one does', async () => {
    const { port } = await start()
    const headers = { host: 'example.com' }
    for (const origin of [
      'https://example.com.evil.com',
      'https://evil-example.com',
      'https://evil.example.com',
      'https://example.co',
      'https://example.com:8443',
      'https://example.com@evil.com',
      'https://evil.com/https://example.com',
    ])
      expect(await refusalOf(port, null, { origin, headers }), origin).toBe(403)
    // What is no host leads nowhere.
    for (const host of ['example.com/', 'example.com?', 'example.com#', 'a@example.com'])
      expect(await refusalOf(port, null, { origin: 'https://example.com', headers: { host } }), host).toBe(
        403,
      )
    await connect(port, null, { origin: 'https://example.com', headers })
  })

  test('with 401 where nobody is signed in and somebody must be', async () => {
    const { port, sessions } = await start(undefined, { requireUser: true })
    expect(await refusalOf(port, null)).toBe(401)
    expect(await refusalOf(port, await arrive(sessions))).toBe(401)
    expect(await refusalOf(port, '__Host-session=nonsense')).toBe(401)
    await connect(port, await arrive(sessions, {}, 'vera'))
  })

  test('with 401 on a session that has just ended', async () => {
    const { port, sessions } = await start()
    const cookie = await arrive(sessions)
    await visit(sessions, cookie, (session) => session.destroy())
    expect(await refusalOf(port, cookie)).toBe(401)
  })

  test('with 503 while the store fails, whatever onOutage says', async () => {
    for (const onOutage of ['fail', 'anonymous'] as const) {
      const { port, sessions, store } = await start(undefined, {}, { onOutage })
      const cookie = await arrive(sessions)
      store.fail('load')
      expect(await refusalOf(port, cookie)).toBe(503)
    }
  })

  test.each([
    [
      'a cookie of junk',
      [
        'Cookie: __Host-session=\x00\x01;;=;=\xff',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        'Sec-WebSocket-Version: 13',
      ],
      '400|101',
    ],
    ['no key', ['Sec-WebSocket-Version: 13'], '400'],
    ['a bad key', ['Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13'], '400'],
    [
      'an unknown version',
      ['Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Sec-WebSocket-Version: 99'],
      '400|426',
    ],
  ])('or answered, and never an exception, with %s', async (_, headers, status) => {
    const { port, errors, sessions } = await start()
    const wire = new Wire(port)
    wire.send(
      'GET / HTTP/1.1',
      `Host: localhost:${port}`,
      `Origin: http://localhost:${port}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      ...headers,
    )
    expect(await wire.until('\r\n\r\n')).toMatch(new RegExp(`^HTTP/1.1 (${status}) `))
    expect([errors, sessions.followed]).toEqual([[], 0])
  })

  test('without harm when it goes away before its session was opened', async () => {
    const { port, sessions, store, errors, server } = await start()
    const cookie = await arrive(sessions)
    store.hang('load')
    const upgraded = once(server, 'upgrade')
    const wire = new Wire(port)
    wire.send(
      'GET / HTTP/1.1',
      `Host: localhost:${port}`,
      `Origin: http://localhost:${port}`,
      `Cookie: ${cookie}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      'Sec-WebSocket-Version: 13',
    )
    await upgraded
    wire.socket.resetAndDestroy()
    await nextTurn()
    store.heal()
    await eventually(() => expect(store.calls.at(-1)![0]).toBe('load'))
    for (let i = 0; i < 20; i++) await nextTurn()
    // Whether it is gone already shows only in time.
    await eventually(() => expect(sessions.followed).toBe(0))
    expect(errors).toEqual([])
  })

  test('at construction, where an option is wrong', () => {
    const sockets = new WebSocketServer({ noServer: true })
    const make = (options: SocketOptions) => () => acceptSockets({}, sockets, () => {}, options)
    for (const origin of [
      'example.com',
      'https://example.com/',
      'https://example.com:443',
      '*',
      'https://*.example.com',
      'null',
    ])
      expect(make({ origins: [origin] })).toThrow(expect.objectContaining({ rule: 'socket-origins' }))
    for (const maxPending of [0, -1, 1.5, NaN])
      expect(make({ maxPending })).toThrow(expect.objectContaining({ rule: 'socket-max-pending' }))
  })
})

describe('messages', () => {
  test('see what pages wrote, and pages see what they wrote', async () => {
    const { port, sessions } = await start(
      answering((session, text) => {
        session.set('text', text)
        return { ...session.data }
      }),
    )
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    await visit(sessions, cookie, ({ data }) => (data.page = 1))
    client.socket.send('hello')
    expect(JSON.parse(await client.next())).toEqual({ n: 0, page: 1, text: 'hello' })
    await eventually(async () =>
      expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, page: 1, text: 'hello' }),
    )
  })

  test('of one socket, all at once, lose nothing of what they write', async () => {
    const { port, sessions, errors } = await start(
      answering((session) => session.update('n', (n) => n + 1)),
      { maxPending: 1000 },
    )
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    for (let i = 0; i < 200; i++) client.socket.send(String(i))
    for (let i = 0; i < 200; i++) await client.next()
    await eventually(async () => expect(await dataBehind(sessions, cookie)).toEqual({ n: 200 }))
    expect(errors).toEqual([])
  })

  test('whose handler throws save nothing, are told of, and the socket lives', async () => {
    const { port, sessions, errors } = await start(
      answering((session, text) => {
        session.set('text', text)
        if (text === 'bad') throw new RangeError('oops')
      }),
    )
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    client.socket.send('bad')
    await eventually(() => expect(errors).toEqual([new RangeError('oops')]))
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
    client.socket.send('good')
    expect(await client.next()).toBe('null')
  })

  test('while the store fails are told of, and the socket lives', async () => {
    const { port, sessions, errors, store } = await start(answering((session) => session.get('n')))
    const client = await connect(port, await arrive(sessions))
    store.fail('load')
    client.socket.send('')
    await eventually(() => expect(errors).toEqual([expect.objectContaining({ code: 'ERR_SESSION_STORE' })]))
    store.heal()
    client.socket.send('')
    expect(await client.next()).toBe('0')
  })

  test('count as activity, now and then; pings do not, and nothing moves the absolute end', async () => {
    const { port, sessions, asked, clock } = await start(answering((session) => session.touchedAt.getTime()))
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    const begun = clock.now()
    await clock.advance(90_000)
    asked()
    client.socket.ping()
    await once(client.socket, 'pong')
    client.socket.send('')
    expect(await client.next()).toBe(String(begun))
    await eventually(() =>
      expect(asked().filter((operation) => operation !== 'peek')).toEqual(['load', 'touch']),
    )
    client.socket.send('')
    expect(await client.next()).toBe(String(begun + 90_000))
    expect(asked()).toEqual(['load'])
    // Kept alive by a message every half an hour, it ends all the same.
    for (let hours = 0.5; hours < 23.9; hours += 0.5) {
      await clock.advance(1_800_000)
      client.socket.send('')
      await client.next()
    }
    await clock.advance(1_800_000)
    expect(await client.closed).toEqual({ code: 4401, reason: 'expired' })
  })

  test('that come faster than they are handled close the socket', async () => {
    const handled = vi.fn<() => Promise<void>>(() => new Promise(() => {}))
    const { port, sessions, errors } = await start(
      (context, socket) => void socket.on('message', context.callback(handled)),
      { maxPending: 5 },
    )
    const client = await connect(port, await arrive(sessions))
    for (let i = 0; i < 50; i++) client.socket.send(String(i))
    expect(await client.closed).toEqual({ code: 4429, reason: 'too many messages' })
    expect(handled.mock.calls.length).toBe(5)
    expect(errors[0]).toMatchObject({ code: 'ERR_SESSION_TOO_MANY' })
  })

  test('that break the protocol close the socket, and nothing else', async () => {
    const { port, sessions } = await start()
    const client = await connect(port, await arrive(sessions))
    ;(client.socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(
      Buffer.from([0xff, 0xff, 0xff]),
    )
    expect((await client.closed).code).toBe(1002)
    await eventually(() => expect(sessions.followed).toBe(0))
  })

  test('a handler of sockets that fails closes its socket, and is told of', async () => {
    const { port, sessions, errors } = await start(() => {
      throw new RangeError('oops')
    })
    const client = await connect(port, await arrive(sessions))
    expect((await client.closed).code).toBe(1011)
    expect(errors).toEqual([new RangeError('oops')])
  })
})

describe('when the session ends', () => {
  test.each<[string, (session: any) => unknown, string]>([
    ['signed out', (session) => session.destroy(), 'destroyed'],
    ['signed in again', (session) => session.signIn('uma'), 'rotated'],
    ['given a new id', (session) => session.rotate(), 'rotated'],
  ])('%s by a page, all its sockets are closed and no others', async (_, end, reason) => {
    const { port, sessions } = await start()
    const [first, second] = [await arrive(sessions), await arrive(sessions)]
    const clients = await Promise.all([first, first, first].map((cookie) => connect(port, cookie)))
    const other = await connect(port, second)
    await visit(sessions, first, end)
    for (const { closed } of clients) expect(await closed).toEqual({ code: 4401, reason })
    expect(other.socket.readyState).toBe(1)
  })

  test('by a message, the socket is closed', async () => {
    const { port, sessions, errors } = await start(answering((session) => session.destroy()))
    const client = await connect(port, await arrive(sessions))
    client.socket.send('')
    expect(await client.closed).toEqual({ code: 4401, reason: 'destroyed' })
    expect(errors).toEqual([])
  })

  test('a message that comes after does not reach its handler', async () => {
    const handled = vi.fn<() => void>()
    const { port, sessions, store, errors } = await start(
      (context, socket) => void socket.on('message', context.callback(handled)),
    )
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    store.losesNotices = true
    await visit(serveElsewhere(store), cookie, (session) => session.destroy())
    client.socket.send('still here')
    expect(await client.closed).toEqual({ code: 4401, reason: 'destroyed' })
    expect([handled.mock.calls.length, errors]).toEqual([0, []])
  })

  test('and every notice of it is lost, its sockets are closed within 30 s', async () => {
    const { port, sessions, store, clock } = await start()
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    store.losesNotices = true
    await visit(serveElsewhere(store), cookie, (session) => session.destroy())
    await clock.advance(30_000)
    expect(await client.closed).toEqual({ code: 4401, reason: 'destroyed' })
  })
})

test('a change by a page reaches the sockets of its session', async () => {
  const { port, sessions } = await start((context, socket) => {
    context.onChange((keys, session) => socket.send(JSON.stringify([keys, session.get('n')])))
  })
  const cookie = await arrive(sessions)
  const client = await connect(port, cookie)
  await visit(sessions, cookie, ({ data }) => (data.n = 5))
  expect(JSON.parse(await client.next())).toEqual([['n'], 5])
})

test('of three hundred sockets that came and went nothing is left', async () => {
  const { port, sessions, server, asked, clock } = await start((context) => void context.onChange(() => {}))
  const connections = promisify(server.getConnections.bind(server))
  const cookie = await arrive(sessions)
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(Array.from({ length: 100 }, () => connect(port, cookie)))
    expect(sessions.followed).toBe(1)
    clients.forEach(({ socket }, i) => (i % 2 === 0 ? socket.close() : socket.terminate()))
    await eventually(() => expect(sessions.followed).toBe(0))
  }
  await eventually(async () => expect(await connections()).toBe(0))
  asked()
  await clock.advance(120_000)
  expect(asked()).toEqual([])
})

function serveElsewhere(store: SessionsOptions['store']) {
  return serve({ store: store! }).other()
}
