import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'

import { serve as serveHono, upgradeWebSocket } from '@hono/node-server'
import { plugin as crosswsPlugin } from 'crossws/server'
import { Hono } from 'hono'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocketServer } from 'ws'

import { acceptSockets as acceptOverCrossws } from '../../src/adapters/crossws.ts'
import { acceptSockets as acceptOverHono } from '../../src/adapters/hono-ws.ts'
import { sessionMiddleware } from '../../src/adapters/hono.ts'
import type { SocketContext, SocketOptions } from '../../src/adapters/ws.ts'
import type { Context } from '../../src/context.ts'
import { connect, refusalOf } from '../sockets/client.ts'
import type { Anything, Server } from '../support/core.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'
import { eventually } from '../support/eventually.ts'

// Its own types do not compile as strictly as this repository does.
const { defineWebSocketHandler, H3, serve: serveH3 } = (await import('h3' as string)) as any

/** What an application does with a socket: when it is open, and with a message, which it answers. */
interface Application {
  open?(context: SocketContext<Anything, any>, send: (text: string) => void): void
  message?(context: Context<Anything, any>, text: string): unknown
}

/** Starts a server for sockets at `/`. @returns its port */
type Start = (core: Server, application: Application, options: SocketOptions) => Promise<number>

const ADAPTERS: readonly (readonly [string, Start])[] = [
  [
    'Hono on node',
    async ({ sessions }, { open, message }, options) => {
      const app = new Hono().use(sessionMiddleware(sessions)).get(
        '/',
        acceptOverHono(
          sessions,
          upgradeWebSocket,
          (context, socket) => {
            open?.(context, (text) => socket.send(text))
            return {
              onMessage: context.callback(async (context, { data }) => {
                socket.send(JSON.stringify((await message?.(context, data as string)) ?? null))
              }),
            }
          },
          options,
        ),
        (c) => c.text('a page'),
      )
      const sockets = new WebSocketServer({ noServer: true })
      const server = serveHono({
        fetch: app.fetch,
        websocket: { server: sockets as never },
        port: 0,
        hostname: '127.0.0.1',
      }) as HttpServer
      await once(server, 'listening')
      onTestFinished(() => {
        for (const socket of sockets.clients) socket.terminate()
        server.close()
      })
      return (server.address() as { port: number }).port
    },
  ],
  [
    'H3 by crossws',
    async ({ sessions }, { open, message }, options) => {
      const app = new H3().get(
        '/',
        defineWebSocketHandler(
          acceptOverCrossws(
            sessions,
            {
              open: (context, peer) => open?.(context, (text) => peer.send(text)),
              async message(context, peer, data) {
                peer.send(JSON.stringify((await message?.(context, data.text())) ?? null))
              },
            },
            options,
          ),
        ),
      )
      const server = serveH3(app, {
        plugins: [crosswsPlugin({})],
        port: 0,
        hostname: '127.0.0.1',
        silent: true,
      })
      await server.ready()
      onTestFinished(() => server.close(true))
      return Number(new URL(server.url!).port)
    },
  ],
]

describe.each(ADAPTERS)('sockets over %s', (_, startServer) => {
  async function start(application: Application = {}, options: SocketOptions = {}) {
    const core = serve()
    const errors: unknown[] = []
    const port = await startServer(core, application, { onError: (error) => errors.push(error), ...options })
    return { ...core, core, port, errors }
  }

  test('are refused for a foreign origin, a look-alike, null or none, before they are accepted', async () => {
    const open = vi.fn<() => void>()
    const { port, sessions } = await start({ open })
    const cookie = await arrive(sessions)
    for (const origin of ['https://evil.example', `http://localhost:${port}.evil.example`, 'null', undefined])
      expect(await refusalOf(port, cookie, { origin: origin! })).toBe(403)
    expect([open.mock.calls, sessions.followed]).toEqual([[], 0])
  })

  test('are refused where nobody is signed in and somebody must be, or the store fails', async () => {
    const { port, sessions, store } = await start({}, { requireUser: true })
    const cookie = await arrive(sessions, {}, 'vera')
    expect(await refusalOf(port, null)).toBe(401)
    store.fail('load')
    expect(await refusalOf(port, cookie)).toBe(503)
    store.heal()
    await connect(port, cookie)
  })

  test('see what pages wrote, and pages see what they wrote', async () => {
    const { port, sessions } = await start({
      message({ session }, text) {
        session.set('text', text)
        return { ...session.data }
      },
    })
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    await visit(sessions, cookie, ({ data }) => (data.page = 1))
    client.socket.send('hello')
    expect(JSON.parse(await client.next())).toEqual({ n: 0, page: 1, text: 'hello' })
    await eventually(async () => expect(await dataBehind(sessions, cookie)).toMatchObject({ text: 'hello' }))
  })

  test('hear what others change', async () => {
    const { port, sessions } = await start({
      open: (context, send) => context.onChange((keys) => send(keys.join())),
    })
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    await visit(sessions, cookie, ({ data }) => (data.n = 1))
    expect(await client.next()).toBe('n')
  })

  test('are closed when their session ends, with the reason', async () => {
    const { port, sessions } = await start()
    const cookie = await arrive(sessions)
    const clients = [await connect(port, cookie), await connect(port, cookie)]
    const other = await connect(port, await arrive(sessions))
    await eventually(() => expect(sessions.followed).toBe(2))
    await visit(sessions, cookie, (session) => session.destroy())
    for (const { closed } of clients) expect(await closed).toEqual({ code: 4401, reason: 'destroyed' })
    expect([other.socket.readyState, sessions.followed]).toEqual([1, 1])
  })

  test('live on when a handler of messages throws, which is told of', async () => {
    const { port, sessions, errors } = await start({
      message({ session }, text) {
        session.set('text', text)
        if (text === 'bad') throw new RangeError('oops')
      },
    })
    const cookie = await arrive(sessions)
    const client = await connect(port, cookie)
    client.socket.send('bad')
    client.socket.send('good')
    expect(await client.next()).toBe('null')
    await eventually(async () => expect(await dataBehind(sessions, cookie)).toMatchObject({ text: 'good' }))
    expect(errors).toEqual([new RangeError('oops')])
  })

  test('are closed when they send more than is handled', async () => {
    const { port, sessions } = await start({ message: () => new Promise(() => {}) }, { maxPending: 3 })
    const client = await connect(port, await arrive(sessions))
    for (let i = 0; i < 10; i++) client.socket.send('')
    expect(await client.closed).toEqual({ code: 4429, reason: 'too many messages' })
  })

  test('leave nothing behind when they go', async () => {
    const { port, sessions, core } = await start({ open: (context) => void context.onChange(() => {}) })
    const cookie = await arrive(sessions)
    const clients = await Promise.all(Array.from({ length: 50 }, () => connect(port, cookie)))
    await eventually(() => expect(sessions.followed).toBe(1))
    clients.forEach(({ socket }, i) => (i % 2 === 0 ? socket.close() : socket.terminate()))
    await eventually(() => expect(sessions.followed).toBe(0))
    core.asked()
    await core.clock.advance(120_000)
    expect(core.asked()).toEqual([])
  })
})

test('over Hono, a request that is no handshake goes on to the next handler', async () => {
  const core = serve()
  const app = new Hono().get(
    '/',
    acceptOverHono(core.sessions, upgradeWebSocket, () => {}),
    (c) => c.text('a page'),
  )
  expect(await (await app.request('/')).text()).toBe('a page')
})
