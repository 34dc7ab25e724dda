/** Sockets, and server-sent events, beside pages of Hono on Node. On Bun and Deno only the server and `upgradeWebSocket` are others. */
import { serve, upgradeWebSocket } from '@hono/node-server'
import { Hono } from 'hono'
import { Context, createSessions } from 'holdfast'
import { sessionMiddleware } from 'holdfast/hono'
import { acceptSockets } from 'holdfast/hono-ws'
import { eventStream } from 'holdfast/sse'
import { WebSocketServer } from 'ws'

import { overWebSocket, page } from './page.ts'

interface Visit {
  count?: number
}

const sessions = createSessions<Visit>()

const app = new Hono()
  // Before the middleware: a socket opens its session by itself.
  .get(
    '/live',
    acceptSockets(sessions, upgradeWebSocket, (ctx, socket) => {
      // What other tabs, and pages, have added.
      ctx.onChange((_, session) => socket.send(String(session.get('count'))))
      return {
        onMessage: ctx.callback(({ session }) => {
          socket.send(String(session.update('count', (count = 0) => count + 1)))
        }),
      }
    }),
  )
  .use(sessionMiddleware(sessions))
  .get('/', (c) => {
    // A socket needs a session to share: a visitor's begins with the page.
    const count = c.var.session.update('count', (count = 0) => count)
    return c.html(page(count, overWebSocket))
  })
  .get('/events', (c) => {
    // Without a session there is nothing to hear, and 204 keeps the browser from asking again.
    if (c.var.session.isNew || c.var.session.isEnded) return c.body(null, 204)
    const ctx = Context.current<Visit>()!
    return eventStream(ctx, (send) => {
      ctx.onChange((_, session) => send({ event: 'count', data: session.get('count') }))
    })
  })
  .post('/sign-out', async (c) => {
    await c.var.session.destroy()
    return c.redirect('/', 303)
  })

serve(
  {
    fetch: app.fetch,
    websocket: { server: new WebSocketServer({ noServer: true, maxPayload: 1024 }) as never },
    port: Number(process.env['PORT'] ?? 3000),
  },
  ({ port }) => console.log(`http://localhost:${port}`),
)
