import type { IncomingMessage, ServerResponse } from 'node:http'

import { contextOf } from '../context.ts'
import { SessionError } from '../errors.ts'
import type { SessionsOptions } from '../options.ts'
import type { Sessions } from '../sessions.ts'
import type { FailureAnswer } from './_middleware.ts'
import { managerOf } from './_middleware.ts'
import { refuseUpgrade } from './_refuse-upgrade.ts'
import type { SocketContext, SocketOptions } from './_socket.ts'
import { isRefusal, SESSION_ENDED, SocketGate } from './_socket.ts'

export { SESSION_ENDED, SocketContext, type SocketOptions, TOO_MANY_CALLBACKS } from './_socket.ts'

/** The part of a Socket.IO `Server` that is used here. */
export interface SocketIoServer<S extends SocketIoSocket> {
  readonly engine: {
    use(middleware: (request: any, response: any, next: (error?: unknown) => void) => void): unknown
    on(event: 'connection', listener: (connection: EngineConnection) => void): unknown
  }
  on(event: 'connection', listener: (socket: S) => void): unknown
}

/** The part of its sockets that is used here. */
export interface SocketIoSocket {
  readonly request: IncomingMessage
  emit(event: string, ...args: any[]): unknown
  disconnect(close: boolean): unknown
}

/** What a socket goes by underneath. */
export interface EngineConnection {
  readonly request: IncomingMessage
  on(event: 'close', listener: () => void): unknown
  close(): unknown
}

/**
 * Lets sockets of Socket.IO share the sessions of the HTTP server they come in by, whichever of its transports they use, and whatever
 * framework answers beside it.
 *
 * Before a connection is accepted, its Origin is checked (403) and its session opened from the cookie (401 where that has ended, or nobody is
 * signed in and `requireUser` is set; 503 where the store fails). When the session ends, anywhere, its sockets are sent the event
 * `session-ended`, with the reason and the code 4401, and disconnected by the server, which keeps the client from connecting again by itself.
 *
 * Polling that comes without an Origin passes: browsers send none with a page's requests to its own server.
 *
 * @param sessions the manager that the HTTP server has, or its options
 * @param io attached to its HTTP server already
 * @param connected called for each socket of the main namespace; of another one, a socket's context is had by {@link getContext}
 * @example
 * const io = new Server(server)
 * acceptSockets(sessions, io, (ctx, socket) => {
 *   socket.on('draft', ctx.callback((ctx, text) => {
 *     ctx.session.set('draft', text)
 *   }))
 *   ctx.onChange((keys) => socket.emit('changed', keys))
 * })
 * @throws SessionError `ERR_SESSION_OPTION`, also where the server is not attached yet
 */
export function acceptSockets<T extends object, S extends SocketIoSocket>(
  sessions: Sessions<T> | SessionsOptions,
  io: SocketIoServer<S>,
  connected: (context: SocketContext<T, IncomingMessage>, socket: S) => unknown,
  options: SocketOptions = {},
): void {
  const manager = managerOf<T>(sessions)
  const gate = new SocketGate(manager, options)
  const pollingGate = new SocketGate(manager, { ...options, allowMissingOrigin: true })
  if ((io as { engine?: unknown }).engine === undefined)
    throw new SessionError(
      'ERR_SESSION_OPTION',
      'This Socket.IO server is not attached: make it by new Server(httpServer), or attach it, and then call acceptSockets.',
      { rule: 'socket-io-attached' },
    )

  const admit = async (request: IncomingMessage): Promise<FailureAnswer | null> => {
    const { searchParams } = new URL(request.url ?? '', 'http://localhost')
    const own = request.headers.upgrade === undefined ? pollingGate : gate
    // Part of a connection whose session has been opened.
    if (searchParams.has('sid')) return own.refusalByOrigin(request)
    const opened = await own.open(request)
    if (isRefusal(opened)) return opened
    return null
  }

  const guard = async (
    request: IncomingMessage,
    response: ServerResponse,
    next: (error?: unknown) => void,
  ): Promise<void> => {
    let refused
    try {
      refused = await admit(request)
    } catch (error) {
      gate.onError(error)
      return next(error)
    }
    if (refused === null) next()
    else if (request.headers.upgrade !== undefined) refuseUpgrade(request.socket, refused)
    else response.writeHead(refused.status, refused.headers).end(refused.body)
  }
  io.engine.use((request, response, next) => void guard(request, response, next))

  const socketsOf = new WeakMap<IncomingMessage, Set<S>>()
  io.engine.on('connection', (connection) => {
    const { request } = connection
    const context = contextOf(request, manager) as SocketContext<T, IncomingMessage>
    const sockets = new Set<S>()
    socketsOf.set(request, sockets)
    connection.on('close', () => context.close())
    context.begin((code, reason) => {
      for (const socket of sockets) {
        if (code === SESSION_ENDED) socket.emit('session-ended', reason, code)
        socket.disconnect(true)
      }
      connection.close()
    })
  })
  io.on('connection', (socket) => {
    const context = getContext(socket, manager)
    socketsOf.get(socket.request)?.add(socket)
    begin(connected, context, socket).catch((error: unknown) => {
      gate.onError(error)
      socket.disconnect(true)
    })
  })
}

/**
 * The context of a socket that {@link acceptSockets} has let in, for code of other namespaces. Sockets of one connection share it.
 * @param sessions whose context, where an application has several managers
 * @throws SessionError `ERR_SESSION_NO_MIDDLEWARE` where there is none
 */
export function getContext<T extends object = Record<string, unknown>>(
  socket: SocketIoSocket,
  sessions?: Sessions<T>,
): SocketContext<T, IncomingMessage> {
  // Hung there by this adapter: nothing else sees the handshake.
  return contextOf(socket.request, sessions) as SocketContext<T, IncomingMessage>
}

/** As a promise, whichever way it fails. */
async function begin<A extends unknown[]>(run: (...args: A) => unknown, ...args: A): Promise<void> {
  await run(...args)
}
