import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { Agent, request as send } from 'node:http'

/** What a run may find to be wrong; none of it may ever happen. */
export const VIOLATIONS = [
  /** An acknowledged write is not in the store, or its session is not. */
  'lost',
  /** A write is there more often than it was asked for. */
  'made twice',
  /** A session that was signed out, or left behind by a sign-in, is alive. */
  'undone',
  /** An answer holds what belongs to somebody else. */
  'wrong user',
  /** A cookie is set, or cleared, by an answer that has no business to. */
  'overwritten',
  /** There is no answer, or one of 500 or such. */
  'no answer',
  /** An answer of 503 does not say when to come again. */
  'no Retry-After',
] as const

export type Violation = (typeof VIOLATIONS)[number]

/** One request, answered. */
export interface Answer {
  readonly server: number
  readonly what: string
  /** When it was sent and answered, by `performance.now()`. */
  readonly from: number
  readonly to: number
  /** For how many milliseconds of these its server, or we, waited for a processor. */
  readonly starved: number
  /** 0 where no answer came. */
  readonly status: number
  readonly cookies: readonly string[]
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Milliseconds after which a client gives up: a server that takes so long hangs. */
const PATIENCE = 15_000

/** Sends requests to servers, and keeps what became of them. */
export class Ledger {
  readonly answers: Answer[] = []
  readonly violations: { readonly kind: Violation; readonly what: string }[] = []
  /** Requests that may fail to be answered at all, because their server is being stopped. */
  mayRefuse = false
  readonly #accusations = new EventEmitter()
  /**
   * Closes idle connections before the server does: Node's agent heeds the server's `Keep-Alive: timeout` only where it has a longer timeout
   * itself, and applies a request's timeout only where that differs.
   */
  readonly #agent = new Agent({ keepAlive: true, timeout: 2 * PATIENCE })
  readonly #ports: readonly number[]
  readonly #pids: readonly number[]
  readonly #watches = new Set<(answer: Answer) => void>()

  /**
   * @param ports of the servers
   * @param pids of theirs, where it matters for how long they were kept waiting
   */
  constructor(ports: readonly number[], pids: readonly number[] = []) {
    this.#ports = ports
    this.#pids = pids
  }

  get servers(): number {
    return this.#ports.length
  }

  accuse(kind: Violation, what: string): void {
    this.violations.push({ kind, what })
    this.#accusations.emit(kind)
  }

  /** Resolves when something is found to be wrong. */
  async seen(kind: Violation): Promise<void> {
    await once(this.#accusations, kind)
  }

  /** Sends a request, and resolves when it has been answered, or when that will not be. */
  async ask(server: number, what: string, cookie: string | null, signal?: AbortSignal): Promise<Answer> {
    const before = this.#starved(server)
    const from = performance.now()
    const [method, path] = what.split(' ') as [string, string]
    const { status, headers, body } = await this.#send(server, method, path, cookie, signal)
    const to = performance.now()
    const starved = Math.max(0, this.#starved(server) - before)
    const answer = {
      server,
      what,
      from,
      to,
      starved,
      status,
      headers,
      body,
      cookies: headers['set-cookie'] ?? [],
    }
    this.answers.push(answer)
    const report = `${what} on server ${server}: ${status} ${body}, after ${Math.round(to - from)} ms`
    if (status === 503 && headers['retry-after'] === undefined) this.accuse('no Retry-After', report)
    if (status !== 200 && status !== 503 && !(status === 0 && this.mayRefuse))
      this.accuse('no answer', report)
    if (status !== 200 && answer.cookies.length > 0) this.accuse('overwritten', report)
    for (const watch of this.#watches) watch(answer)
    return answer
  }

  /** Resolves when each server has given so many answers from now on, of those that count. */
  each(count: number, counts: (answer: Answer) => boolean): Promise<void> {
    const missing = this.#ports.map(() => count)
    return new Promise((resolve) => {
      const watch = (answer: Answer): void => {
        if (counts(answer)) missing[answer.server]!--
        if (missing.some((left) => left > 0)) return
        this.#watches.delete(watch)
        resolve()
      }
      this.#watches.add(watch)
    })
  }

  close(): void {
    this.#agent.destroy()
  }

  #starved(server: number): number {
    const pid = this.#pids[server]
    return pid === undefined ? 0 : starvedOf(pid) + starvedOf(process.pid)
  }

  #send(
    server: number,
    method: string,
    path: string,
    cookie: string | null,
    signal: AbortSignal | undefined,
  ): Promise<Pick<Answer, 'status' | 'headers' | 'body'>> {
    return new Promise((resolve) => {
      const fail = (error: Error): void => resolve({ status: 0, headers: {}, body: error.message })
      const request = send(
        {
          host: '127.0.0.1',
          port: this.#ports[server]!,
          method,
          path,
          headers: cookie === null ? {} : { cookie },
          agent: this.#agent,
          timeout: PATIENCE,
          ...(signal && { signal }),
        },
        (response) => {
          let body = ''
          response.setEncoding('utf8')
          response.on('data', (text: string) => (body += text))
          response.on('error', fail)
          response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body }))
        },
      )
      request.on('timeout', () => request.destroy(new Error('hangs')))
      request.on('error', fail)
      request.end()
    })
  }
}

/** For how many milliseconds a process was ready to run, and others had the processors. 0 where the system does not tell. */
function starvedOf(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 2)[1]) / 1e6
  } catch {
    return 0
  }
}
