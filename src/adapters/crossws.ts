import type { SessionsOptions } from '../options.ts'
import type { Sessions } from '../sessions.ts'
import { managerOf } from './_middleware.ts'
import type { SocketContext, SocketOptions } from './_socket.ts'
import { isRefusal, SocketGate } from './_socket.ts'

export { SESSION_ENDED, SocketContext, type SocketOptions, TOO_MANY_CALLBACKS } from './_socket.ts'

/** The part of a peer of crossws that is used here. */
export interface CrosswsPeer {
  readonly context: object
  close(code?: number, reason?: string): void
}

/** What happens to a socket. Each is handed the socket's context; `message` runs as a callback, with one of its own. */
export interface SessionHooks<T extends object, P extends CrosswsPeer, M> {
  open?: (context: SocketContext<T, Request>, peer: P) => unknown
  message?: (
    context: Parameters<Parameters<SocketContext<T, Request>['callback']>[0]>[0],
    peer: P,
    message: M,
  ) => unknown
  close?: (context: SocketContext<T, Request>, peer: P) => unknown
}

/** The hooks that crossws takes. */
export interface CrosswsHooks<P extends CrosswsPeer, M> {
  upgrade(request: Request): Promise<Response | { context: Record<string, unknown> }>
  open(peer: P): Promise<void>
  message(peer: P, message: M): Promise<void>
  close(peer: P): Promise<void>
}

/**
 * Hooks for crossws, and so for H3, Nitro, and the servers of Node, Bun and Deno: sockets that share the sessions of the HTTP server.
 *
 * Before a socket is accepted, its Origin is checked (403) and its session opened from the cookie (401 where that has ended, or nobody is
 * signed in and `requireUser` is set; 503 where the store fails). When the session ends, anywhere, the socket is closed with 4401 and
 * the reason.
 *
 * @param sessions the manager that the HTTP server has, or its options
 * @example
 * app.get('/live', defineWebSocketHandler(acceptSockets(sessions, {
 *   open: (ctx, peer) => void ctx.onChange((keys) => peer.send(keys)),
 *   message: (ctx, peer, message) => void ctx.session.set('draft', message.text()),
 * })))
 */
export function acceptSockets<T extends object, P extends CrosswsPeer = any, M = any>(
  sessions: Sessions<T> | SessionsOptions,
  hooks: SessionHooks<T, P, M>,
  options: SocketOptions = {},
): CrosswsHooks<P, M> {
  const gate = new SocketGate(managerOf<T>(sessions), options)
  const reported = async (run: () => unknown): Promise<void> => {
    try {
      await run()
    } catch (error) {
      gate.onError(error)
    }
  }
  return {
    async upgrade(request) {
      const opened = await gate.open(request)
      if (!isRefusal(opened)) return { context: { [CONTEXT]: opened } }
      const { status, headers, body } = opened
      return new Response(body, { status, headers })
    },
    async open(peer) {
      const context = contextOf<T>(peer)
      context.begin((code, reason) => peer.close(code, reason))
      await reported(() => hooks.open?.(context, peer))
    },
    async message(peer, message) {
      const { message: handle } = hooks
      if (handle === undefined) return
      // What it throws has been told of.
      await contextOf<T>(peer)
        .callback((context) => handle(context, peer, message))()
        .catch(ignore)
    },
    async close(peer) {
      const context = contextOf<T>(peer)
      context.close()
      await reported(() => hooks.close?.(context, peer))
    },
  }
}

/** Where a peer keeps its context: crossws hands on enumerable properties, of any name. */
const CONTEXT = 'holdfast.socket'

function contextOf<T extends object>({ context }: CrosswsPeer): SocketContext<T, Request> {
  return (context as { [CONTEXT]: SocketContext<T, Request> })[CONTEXT]
}

const ignore = (): void => {}
