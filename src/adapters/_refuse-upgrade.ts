import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'

import type { FailureAnswer } from './_middleware.ts'

/** Answers a handshake by hand, and closes its connection: an upgrade has no response to write to. */
export function refuseUpgrade(socket: Duplex, { status, headers, body }: FailureAnswer): void {
  const lines = Object.entries({ ...headers, 'Content-Length': Buffer.byteLength(body), Connection: 'close' })
  socket.once('finish', () => socket.destroy())
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      ...lines.map(([name, value]) => `${name}: ${value}`),
      '',
      body,
    ].join('\r\n'),
  )
}
