import type { Context as HonoContext, Env, MiddlewareHandler } from 'hono'
import type { UpgradeWebSocket, WSContext, WSEvents } from 'hono/ws'

import type { NodeRequest, WebRequest } from '../cookie/connection.ts'
import type { SessionsOptions } from '../options.ts'
import type { Sessions } from '../sessions.ts'
import { requestOf } from './_hono-request.ts'
import { managerOf } from './_middleware.ts'
import type { SocketContext, SocketOptions } from './_socket.ts'
import { isRefusal, SocketGate } from './_socket.ts'

export { SESSION_ENDED, SocketContext, type SocketOptions, TOO_MANY_CALLBACKS } from './_socket.ts'

/** What is listened to on a socket; `onOpen` has happened. */
export type SocketEvents<S> = Omit<WSEvents<S>, 'onOpen'>

/**
 * A handler for Hono whose sockets share the sessions of its pages, over whichever `upgradeWebSocket` the runtime has: that of
 * @hono/node-server, Bun or Deno.
 *
 * Before a socket is accepted, its Origin is checked (403) and its session opened from the cookie (401 where that has ended, or nobody is
 * signed in and `requireUser` is set; 503 where the store fails). When the session ends, anywhere, the socket is closed with 4401 and
 * the reason. A request that is no handshake goes on to the next handler.
 *
 * @param sessions the manager that the pages have, or its options
 * @param connected called for each socket that is open; what it returns listens to it
 * @example
 * import { upgradeWebSocket } from '@hono/node-server'
 *
 * app.get('/live', acceptSockets(sessions, upgradeWebSocket, (ctx, socket) => {
 *   ctx.onChange((keys) => socket.send(JSON.stringify(keys)))
 *   return {
 *     onMessage: ctx.callback((ctx, { data }) => {
 *       ctx.session.set('draft', String(data))
 *     }),
 *   }
 * }))
 */
export function acceptSockets<T extends object, S, E extends Env = any>(
  sessions: Sessions<T> | SessionsOptions,
  upgradeWebSocket: UpgradeWebSocket<S>,
  connected: (
    context: SocketContext<T, WebRequest | NodeRequest>,
    socket: WSContext<S>,
    c: HonoContext,
  ) => SocketEvents<S> | void,
  options: SocketOptions = {},
): MiddlewareHandler<E> {
  const gate = new SocketGate(managerOf<T>(sessions), options)

  return async (c, next) => {
    if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') return next()
    const opened = await gate.open(requestOf(c))
    if (isRefusal(opened)) {
      const { status, headers, body } = opened
      return new Response(body, { status, headers })
    }
    let events: SocketEvents<S> = {}
    const upgrade = upgradeWebSocket(() => ({
      onOpen(_, socket) {
        opened.begin((code, reason) => socket.close(code, reason))
        try {
          events = connected(opened, socket, c) ?? {}
        } catch (error) {
          gate.onError(error)
          socket.close(1011, 'internal error')
        }
      },
      onMessage: (event, socket) => events.onMessage?.(event, socket),
      onClose(event, socket) {
        opened.close()
        events.onClose?.(event, socket)
      },
      onError: (event, socket) => events.onError?.(event, socket),
    }))
    return upgrade(c, next)
  }
}
