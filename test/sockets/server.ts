/** A server process of its own: pages that sign in and out, and sockets. Takes the url of Redis; prints its port; told `close`, it closes and ends by itself. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'

import { WebSocketServer } from 'ws'

import { getSession, sessionMiddleware } from '../../src/adapters/node.ts'
import { acceptSockets } from '../../src/adapters/ws.ts'
import { createSessions } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'

interface Visit {
  count?: number
}

const store = new RedisSessionStore({ url: process.argv[2]! })
await store.connect()
const sessions = createSessions<Visit>({
  store,
  cookie: { name: 'session', secure: false },
  storeTimeout: 10,
})
const withSession = sessionMiddleware(sessions)

const server = createServer((request, response) =>
  withSession(request, response, async () => {
    const session = getSession<Visit>(request)
    if (request.url === '/sign-in') session.signIn('vera')
    if (request.url === '/count') session.update('count', (count = 0) => count + 1)
    if (request.url === '/sign-out') await session.destroy()
    response.end(JSON.stringify(session.isEnded ? null : session.data))
  }),
)
const sockets = new WebSocketServer({ noServer: true })
server.on(
  'upgrade',
  acceptSockets(
    sessions,
    sockets,
    (ctx, socket) => {
      socket.on(
        'message',
        ctx.callback(({ session }) => {
          session.update('count', (count = 0) => count + 1)
        }),
      )
      ctx.onChange((_, session) => socket.send(String(session.get('count'))))
    },
    { requireUser: true },
  ),
)
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))

createInterface({ input: process.stdin }).on('line', () => {
  for (const socket of sockets.clients) socket.terminate()
  server.close(() => {
    void sessions.close()
    process.stdin.destroy()
  })
})
