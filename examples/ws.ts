/** Sockets of the package `ws` beside pages of `node:http`. */
import { createServer } from 'node:http'

import { createSessions } from 'holdfast'
import { getSession, sessionMiddleware } from 'holdfast/node'
import { acceptSockets } from 'holdfast/ws'
import { WebSocketServer } from 'ws'

import { overWebSocket, page } from './page.ts'

interface Visit {
  count?: number
}

const sessions = createSessions<Visit>()
const withSession = sessionMiddleware(sessions)

const server = createServer((request, response) =>
  withSession(request, response, async (error) => {
    if (error !== undefined) return response.writeHead(503).end()
    const session = getSession<Visit>(request)
    if (request.method === 'POST' && request.url === '/sign-out') {
      await session.destroy()
      return response.writeHead(303, { Location: '/' }).end()
    }
    // A socket needs a session to share: a visitor's begins with the page.
    const count = session.update('count', (count = 0) => count)
    response.setHeader('Content-Type', 'text/html').end(page(count, overWebSocket))
  }),
)

const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 })
server.on(
  'upgrade',
  acceptSockets(sessions, sockets, (ctx, socket) => {
    socket.on(
      'message',
      ctx.callback(({ session }) => {
        socket.send(String(session.update('count', (count = 0) => count + 1)))
      }),
    )
    // What other tabs, and pages, have added.
    ctx.onChange((_, session) => socket.send(String(session.get('count'))))
  }),
)

server.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})
