import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { connect } from 'node:net'

import { onTestFinished } from 'vitest'

/** Lets a server listen on a free port of 127.0.0.1. */
export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

/** Closes a server and its connections. */
export function stop(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

/** A connection on which a test says and sees every byte, as latin1. Closes when the test ends. */
export class Wire {
  readonly socket: Socket
  /** All that has come so far. */
  received = ''
  #closed = false
  #tell: () => void = () => {}

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (bytes) => {
      this.received += bytes.toString('latin1')
      this.#tell()
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.#closed = true
      this.#tell()
    })
    onTestFinished(() => void this.socket.destroy())
  }

  send(...lines: readonly string[]): void {
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  }

  /** Sends GET for a path. */
  get(path = '/', ...headers: readonly string[]): void {
    this.send(`GET ${path} HTTP/1.1`, 'Host: localhost', ...headers)
  }

  /** Resolves when what has come contains `text`, or rejects when the other side closes before. */
  async until(text: string): Promise<string> {
    while (!this.received.includes(text)) {
      if (this.#closed) throw new Error(`Closed before ${JSON.stringify(text)} came: ${this.received}`)
      await this.#next()
    }
    return this.received
  }

  /** Resolves to all that came, when the other side has closed. */
  async end(): Promise<string> {
    while (!this.#closed) await this.#next()
    return this.received
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#tell = resolve
    })
  }
}
