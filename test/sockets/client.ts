import { once } from 'node:events'

import { onTestFinished } from 'vitest'
import type { ClientOptions } from 'ws'
import { WebSocket } from 'ws'

/** A browser's end of a socket. */
export interface Client {
  readonly socket: WebSocket
  /** The next message, as text; in order, none is missed. */
  next(): Promise<string>
  /** How the server closed it. */
  readonly closed: Promise<{ code: number; reason: string }>
}

/** Opens a socket as a page of the server's own origin would, unless told otherwise. Closes when the test ends. */
export async function connect(
  port: number,
  cookie: string | null,
  options: ClientOptions & { path?: string } = {},
): Promise<Client> {
  const client = opening(port, cookie, options)
  await once(client.socket, 'open')
  return client
}

/** The status that a socket is refused with. */
export async function refusalOf(
  port: number,
  cookie: string | null,
  options: ClientOptions = {},
): Promise<number> {
  const { socket } = opening(port, cookie, options)
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number }]
  return response.statusCode
}

function opening(port: number, cookie: string | null, options: ClientOptions & { path?: string }): Client {
  const { path = '/', ...rest } = options
  const socket = new WebSocket(`ws://localhost:${port}${path}`, {
    origin: `http://localhost:${port}`,
    ...rest,
    headers: { ...(cookie !== null && { cookie }), ...rest.headers },
  })
  const messages: string[] = []
  let wake = (): void => {}
  socket.on('message', (data: Buffer) => {
    messages.push(data.toString())
    wake()
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }))
  })
  // Refused handshakes are looked for by their status.
  socket.on('error', () => {})
  onTestFinished(() => socket.terminate())
  return {
    socket,
    closed,
    async next() {
      while (messages.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      return messages.shift()!
    },
  }
}
