import { once } from 'node:events'
import { createServer } from 'node:http'

import { serve as serveHono } from '@hono/node-server'
import express from 'express'
import { Hono } from 'hono'
import type { Socket as ServerSocket } from 'socket.io'
import { Server as SocketIo } from 'socket.io'
import type { ManagerOptions, Socket as ClientSocket, SocketOptions as ClientOptions } from 'socket.io-client'
import { io as connectTo } from 'socket.io-client'
import { describe, expect, onTestFinished, test, vi } from 'vitest'

import { sessionMiddleware as expressMiddleware } from '../../src/adapters/express.ts'
import type { SocketContext, SocketOptions } from '../../src/adapters/socket.io.ts'
import { acceptSockets, getContext } from '../../src/adapters/socket.io.ts'
import type { Anything, Server } from '../support/core.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'
import { listen } from '../support/http.ts'

type Connected = (context: SocketContext<Anything>, socket: ServerSocket) => void

/** What answers beside Socket.IO, by name. */
const SERVERS = {
  'a server of its own': () => createServer((_, response) => void response.end('a page')),
  Express: ({ sessions }: Server) =>
    createServer(
      express()
        .use(expressMiddleware(sessions))
        .get('/', (_, response) => void response.send('a page')),
    ),
} satisfies Record<string, (core: Server) => ReturnType<typeof createServer>>

async function start(
  connected: Connected = () => {},
  options: SocketOptions = {},
  beside: keyof typeof SERVERS = 'a server of its own',
) {
  const core = serve()
  const errors: unknown[] = []
  const server = SERVERS[beside](core)
  const io = new SocketIo(server)
  acceptSockets<Anything, ServerSocket>(core.sessions, io, connected, {
    onError: (error) => errors.push(error),
    ...options,
  })
  const port = await listen(server)
  onTestFinished(() => io.close())
  return { ...core, io, errors, port }
}

const TRANSPORTS = ['websocket', 'polling'] as const

interface Browser extends Partial<ManagerOptions & ClientOptions> {
  readonly origin?: string | null
  readonly namespace?: string
}

/** A page's client. Its Origin is that of the server, unless another is given, or none by null. */
function open(
  port: number,
  cookie: string | null,
  { origin, namespace = '', ...options }: Browser = {},
): ClientSocket {
  const socket = connectTo(`http://localhost:${port}${namespace}`, {
    transports: ['websocket'],
    reconnection: false,
    forceNew: true,
    extraHeaders: {
      ...(origin !== null && { origin: origin ?? `http://localhost:${port}` }),
      ...(cookie !== null && { cookie }),
    },
    ...options,
  })
  onTestFinished(() => void socket.close())
  return socket
}

async function connect(...args: Parameters<typeof open>): Promise<ClientSocket> {
  const socket = open(...args)
  await Promise.race([
    once(socket as never, 'connect'),
    once(socket as never, 'connect_error').then(([error]) => Promise.reject(error as Error)),
  ])
  return socket
}

/** The status that a client is refused with. */
async function refusalOf(...args: Parameters<typeof open>): Promise<unknown> {
  const [error] = (await once(open(...args) as never, 'connect_error')) as [
    { context?: { status?: number; statusText?: string }; description?: { message?: string } | number },
  ]
  const { description } = error
  if (typeof description === 'number') return description
  return Number(/\d{3}$/.exec(description?.message ?? '')?.[0])
}

describe.each(TRANSPORTS)('over %s', (transport) => {
  const transports = [transport]

  test('a foreign origin, a look-alike and null are refused with 403 before anything is accepted', async () => {
    const connected = vi.fn<Connected>()
    const { port, sessions, asked } = await start(connected)
    const cookie = await arrive(sessions)
    asked()
    for (const origin of ['https://evil.example', `http://localhost:${port}.evil.example`, 'null'])
      expect(await refusalOf(port, cookie, { origin, transports })).toBe(403)
    expect([connected.mock.calls, asked()]).toEqual([[], []])
  })

  test('none is refused of a WebSocket, and passes of polling, where browsers send none', async () => {
    const { port, sessions } = await start()
    const cookie = await arrive(sessions)
    if (transport === 'websocket')
      expect(await refusalOf(port, cookie, { origin: null, transports })).toBe(403)
    else await connect(port, cookie, { origin: null, transports })
  })

  test('nobody is refused with 401 where somebody must be, an outage with 503', async () => {
    const { port, sessions, store } = await start(undefined, { requireUser: true })
    const cookie = await arrive(sessions, {}, 'vera')
    expect(await refusalOf(port, null, { transports })).toBe(401)
    store.fail('load')
    expect(await refusalOf(port, cookie, { transports })).toBe(503)
    store.heal()
    await connect(port, cookie, { transports })
  })

  test('events see what pages wrote, and pages see what they wrote', async () => {
    const { port, sessions } = await start((context, socket) => {
      socket.on(
        'draft',
        context.callback(({ session }, text: string, reply: (data: Anything) => void) => {
          session.set('draft', text)
          reply({ ...session.data })
        }),
      )
    })
    const cookie = await arrive(sessions)
    const socket = await connect(port, cookie, { transports })
    await visit(sessions, cookie, ({ data }) => (data.page = 1))
    expect(await socket.emitWithAck('draft', 'hello')).toEqual({ n: 0, page: 1, draft: 'hello' })
    await eventually(async () => expect(await dataBehind(sessions, cookie)).toMatchObject({ draft: 'hello' }))
  })

  test('when the session ends its sockets are told why, disconnected, and do not come back by themselves', async () => {
    const { port, sessions } = await start()
    const cookie = await arrive(sessions)
    const socket = await connect(port, cookie, { transports, reconnection: true })
    const other = await connect(port, await arrive(sessions), { transports })
    const [told, disconnected] = [once(socket as never, 'session-ended'), once(socket as never, 'disconnect')]
    await visit(sessions, cookie, (session) => session.destroy())
    expect(await told).toEqual(['destroyed', 4401])
    expect((await disconnected)[0]).toBe('io server disconnect')
    expect([socket.active, other.connected]).toEqual([false, true])
    await eventually(() => expect(sessions.followed).toBe(1))
  })

  test('nothing is left of sockets that came and went', async () => {
    const { port, sessions, asked, clock } = await start((context) => void context.onChange(() => {}))
    const cookie = await arrive(sessions)
    const sockets = await Promise.all(Array.from({ length: 20 }, () => connect(port, cookie, { transports })))
    expect(sessions.followed).toBe(1)
    for (const socket of sockets) socket.close()
    await eventually(() => expect(sessions.followed).toBe(0))
    asked()
    await clock.advance(120_000)
    expect(asked()).toEqual([])
  })
})

test('a connection that goes from polling to WebSocket stays with its session', async () => {
  const { port, sessions } = await start((context, socket) => {
    socket.on(
      'ask',
      context.callback(({ session }, reply: (n: number) => void) => reply(session.get('n'))),
    )
  })
  const cookie = await arrive(sessions, { n: 3 })
  const socket = await connect(port, cookie, { transports: ['polling', 'websocket'] })
  await eventually(() => expect(socket.io.engine.transport.name).toBe('websocket'))
  expect(await socket.emitWithAck('ask')).toBe(3)
  const disconnected = once(socket as never, 'disconnect')
  await visit(sessions, cookie, (session) => session.destroy())
  expect((await disconnected)[0]).toBe('io server disconnect')
})

test('a foreign page that knows the number of a connection gets nowhere with it', async () => {
  const { port, sessions } = await start()
  const cookie = await arrive(sessions)
  const socket = await connect(port, cookie, { transports: ['polling'] })
  const url = `http://localhost:${port}/socket.io/?EIO=4&transport=polling&sid=${socket.io.engine.id}`
  const ask = async (origin: string): Promise<number> =>
    (await fetch(url, { method: 'POST', headers: { origin, cookie }, body: '3' })).status
  expect(await ask('https://evil.example')).toBe(403)
  expect(await ask(`http://localhost:${port}`)).toBe(200)
})

test('a handler of events that throws is told of, and the socket lives', async () => {
  const { port, sessions, errors } = await start((context, socket) => {
    socket.on(
      'bad',
      context.callback(() => {
        throw new RangeError('oops')
      }),
    )
    socket.on('good', (reply: () => void) => reply())
  })
  const socket = await connect(port, await arrive(sessions))
  socket.emit('bad')
  await socket.emitWithAck('good')
  await eventually(() => expect(errors).toEqual([new RangeError('oops')]))
})

test('sockets of other namespaces find their context, and are closed with the rest', async () => {
  const { port, sessions, io } = await start()
  const users: unknown[] = []
  io.of('/admin').on('connection', (socket) => void users.push(getContext(socket).session.userId))
  const cookie = await arrive(sessions, {}, 'vera')
  const socket = await connect(port, cookie, { namespace: '/admin' })
  expect(users).toEqual(['vera'])
  const disconnected = once(socket as never, 'disconnect')
  await visit(sessions, cookie, (session) => session.destroy())
  await disconnected
})

test('beside Express, pages and sockets share their sessions', async () => {
  const { port, sessions } = await start(
    (context, socket) => void context.onChange((keys) => socket.emit('changed', keys)),
    {},
    'Express',
  )
  const cookie = await arrive(sessions)
  expect(await (await fetch(`http://localhost:${port}/`)).text()).toBe('a page')
  const socket = await connect(port, cookie)
  const changed = once(socket as never, 'changed')
  await visit(sessions, cookie, ({ data }) => (data.n = 1))
  expect(await changed).toEqual([['n']])
})

test('beside Hono, pages and sockets share their sessions', async () => {
  const core = serve()
  const server = serveHono({
    fetch: new Hono().get('/', (c) => c.text('a page')).fetch,
    port: 0,
    hostname: '127.0.0.1',
  })
  await once(server, 'listening')
  const io = new SocketIo(server as never)
  onTestFinished(() => io.close())
  acceptSockets<Anything, ServerSocket>(core.sessions, io, () => {})
  const { port } = server.address() as { port: number }
  expect(await (await fetch(`http://localhost:${port}/`)).text()).toBe('a page')
  const cookie = await arrive(core.sessions)
  const socket = await connect(port, cookie)
  const disconnected = once(socket as never, 'disconnect')
  await visit(core.sessions, cookie, (session) => session.destroy())
  await disconnected
})

test('a server that is not attached yet is refused', () => {
  expect(() => acceptSockets({}, new SocketIo(), () => {})).toThrow(
    expect.objectContaining({ rule: 'socket-io-attached' }),
  )
})
