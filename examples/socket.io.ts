/** Sockets of Socket.IO beside pages of Express. */
import { createServer } from 'node:http'

import express from 'express'
import { createSessions } from 'holdfast'
import { getSession, sessionMiddleware } from 'holdfast/express'
import { acceptSockets } from 'holdfast/socket.io'
import type { Socket } from 'socket.io'
import { Server } from 'socket.io'

import { overSocketIo, page } from './page.ts'

interface Visit {
  count?: number
}

const sessions = createSessions<Visit>()

const app = express()
  .use(sessionMiddleware(sessions))
  .get('/', (request, response) => {
    // A socket needs a session to share: a visitor's begins with the page.
    const count = getSession<Visit>(request).update('count', (count = 0) => count)
    response.type('html').send(page(count, overSocketIo))
  })
  .post('/sign-out', async (request, response) => {
    await getSession(request).destroy()
    response.redirect(303, '/')
  })

const server = createServer(app)
const io = new Server(server)
acceptSockets(sessions, io, (ctx, socket: Socket) => {
  socket.on(
    'add',
    ctx.callback(({ session }) => {
      socket.emit(
        'count',
        session.update('count', (count = 0) => count + 1),
      )
    }),
  )
  // What other tabs, and pages, have added.
  ctx.onChange((_, session) => socket.emit('count', session.get('count')))
})

server.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})
