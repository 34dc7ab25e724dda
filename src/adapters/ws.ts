import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

import type { SessionsOptions } from '../options.ts'
import type { Sessions } from '../sessions.ts'
import { managerOf } from './_middleware.ts'
import { refuseUpgrade } from './_refuse-upgrade.ts'
import type { SocketContext, SocketOptions } from './_socket.ts'
import { isRefusal, SocketGate } from './_socket.ts'

export { SESSION_ENDED, SocketContext, type SocketOptions, TOO_MANY_CALLBACKS } from './_socket.ts'

/** The part of a `WebSocketServer` of the package `ws` that is used here. */
export interface UpgradeServer<S extends UpgradedSocket> {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (socket: S) => void): void
}

/** The part of its sockets that is used here. */
export interface UpgradedSocket {
  close(code: number, reason: string): void
  on(event: 'close' | 'error', listener: () => void): unknown
}

/**
 * Lets sockets of the package `ws` share the sessions of the HTTP server they come in by. What it returns listens to that server's `upgrade`.
 *
 * Before a socket is accepted, its Origin is checked (403) and its session opened from the cookie (401 where that has ended, or nobody is
 * signed in and `requireUser` is set; 503 where the store fails). When the session ends, anywhere, the socket is closed with 4401 and
 * the reason. A socket that breaks the protocol is closed by `ws`; that is no error of the process.
 *
 * @param sessions the manager that the HTTP server has, or its options
 * @param server made with `noServer: true`
 * @param connected called for each socket that was accepted
 * @example
 * const sockets = new WebSocketServer({ noServer: true })
 * server.on('upgrade', acceptSockets(sessions, sockets, (ctx, socket) => {
 *   socket.on('message', ctx.callback((ctx, text) => {
 *     ctx.session.set('draft', String(text))
 *   }))
 *   ctx.onChange((keys) => socket.send(JSON.stringify(keys)))
 * }))
 */
export function acceptSockets<T extends object, S extends UpgradedSocket>(
  sessions: Sessions<T> | SessionsOptions,
  server: UpgradeServer<S>,
  connected: (context: SocketContext<T, IncomingMessage>, socket: S) => unknown,
  options: SocketOptions = {},
): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const gate = new SocketGate(managerOf<T>(sessions), options)

  const accept = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const opened = await gate.open(request)
    if (isRefusal(opened)) return refuseUpgrade(socket, opened)
    // A handshake that is malformed ws answers itself, with 400, and calls nobody.
    server.handleUpgrade(request, socket, head, (upgraded) => {
      upgraded.on('error', ignore)
      upgraded.on('close', () => opened.close())
      opened.begin((code, reason) => upgraded.close(code, reason))
      begin(connected, opened, upgraded).catch((error: unknown) => {
        gate.onError(error)
        upgraded.close(1011, 'internal error')
      })
    })
  }

  return (request, socket, head) => {
    // Until ws listens to it, nobody does, and a reset would end the process.
    socket.on('error', ignore)
    accept(request, socket, head)
      .catch((error: unknown) => {
        gate.onError(error)
        socket.destroy()
      })
      .finally(() => socket.off('error', ignore))
  }
}

/** As a promise, whichever way it fails. */
async function begin<A extends unknown[]>(run: (...args: A) => unknown, ...args: A): Promise<void> {
  await run(...args)
}

const ignore = (): void => {}
