/** The load: keep-alive connections, one request under way on each, over bare sockets, as an HTTP client would cost more than the server. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { constants, getPriority, setPriority } from 'node:os'

export interface Answered {
  /** Milliseconds that each request took, in no order. */
  readonly latencies: Float64Array
  /** Seconds that all took together. */
  readonly seconds: number
}

export class Load {
  readonly #port: number
  readonly #connections: Connection[] = []

  constructor(port: number) {
    this.#port = port
  }

  async open(connections: number): Promise<this> {
    while (this.#connections.length < connections) {
      const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
      await once(socket, 'connect')
      this.#connections.push(new Connection(socket))
    }
    return this
  }

  /**
   * Sends `count` requests, over and over those given.
   * @param read is shown each answer's bytes
   */
  async run(requests: readonly Buffer[], count: number, read?: (answer: Buffer) => void): Promise<Answered> {
    const latencies = new Float64Array(count)
    let next = 0
    const sleep = stayAwake()
    const begin = performance.now()
    const work = async (connection: Connection): Promise<void> => {
      await new Promise<void>((resolve, reject) => {
        let at = 0
        let since = 0
        const send = (): void => {
          if (next === count) return resolve()
          at = next++
          since = performance.now()
          connection.ask(requests[at % requests.length]!)
        }
        connection.onAnswer = (answer) => {
          latencies[at] = performance.now() - since
          if (!isOk(answer)) return reject(new Error(`The server answered:\n${answer.toString('latin1')}`))
          read?.(answer)
          send()
        }
        connection.onError = reject
        send()
      })
    }
    try {
      await Promise.all(this.#connections.map(work))
    } finally {
      sleep()
    }
    return { latencies, seconds: (performance.now() - begin) / 1000 }
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
  }
}

/** One request's bytes. */
export function request(path: string, cookie: string | null): Buffer {
  const header = cookie === null ? '' : `Cookie: ${cookie}\r\n`
  return Buffer.from(`GET /${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${header}\r\n`, 'latin1')
}

/** The Cookie header that a browser would send after an answer. */
export function cookieFrom(answer: Buffer): string {
  const head = answer.toString('latin1', 0, answer.indexOf('\r\n\r\n'))
  return [...head.matchAll(/^set-cookie: ([^;\r\n]+)/gim)].map(([, pair]) => pair).join('; ')
}

/** The same cookie, no longer as the server signed it. */
export function forged(cookie: string): string {
  const at = cookie.indexOf('=') + 9
  return cookie.slice(0, at) + (cookie[at] === 'A' ? 'B' : 'A') + cookie.slice(at + 1)
}

/**
 * Keeps this process from sleeping between two answers. A server whose client sleeps pays for waking it with each answer that it writes, 8 µs on a
 * virtual machine, and the more idle it leaves the client, the oftener: a slow server would seem slower still beside a fast one. Whoever else needs this
 * core, Redis that is, comes first.
 * @returns lets it sleep again
 */
function stayAwake(): () => void {
  let isDone = false
  const turn = (): void => {
    if (!isDone) setImmediate(turn)
  }
  turn()
  const before = getPriority()
  setPriority(constants.priority.PRIORITY_LOW)
  return () => {
    isDone = true
    try {
      setPriority(before)
    } catch {
      // Only root may take it back. What is started from here on is as patient as this process.
    }
  }
}

class Connection {
  onAnswer: (answer: Buffer) => void = () => {}
  onError: (error: Error) => void = () => {}
  readonly #socket: Socket
  #held: Buffer | null = null
  #broken: Error | null = null

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      const answer = this.#held === null ? chunk : Buffer.concat([this.#held, chunk])
      if (isWhole(answer)) {
        this.#held = null
        this.onAnswer(answer)
      } else this.#held = answer
    })
    const fail = (error: Error): void => {
      this.#broken ??= error
      this.onError(error)
    }
    socket.on('error', fail)
    socket.on('close', () => fail(new Error('The server closed the connection.')))
  }

  ask(request: Buffer): void {
    if (this.#broken === null) this.#socket.write(request)
    else this.onError(this.#broken)
  }

  close(): void {
    this.#socket.destroy()
  }
}

function isOk(answer: Buffer): boolean {
  // HTTP/1.1 200
  return answer[9] === 0x32 && answer[10] === 0x30 && answer[11] === 0x30
}

function isWhole(answer: Buffer): boolean {
  const head = answer.indexOf('\r\n\r\n')
  if (head === -1) return false
  const length = /content-length: (\d+)/i.exec(answer.toString('latin1', 0, head))
  if (length !== null) return answer.length >= head + 4 + Number(length[1])
  return answer.toString('latin1', answer.length - 5) === '0\r\n\r\n'
}
