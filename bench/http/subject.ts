/** One measured process, signed in and ready to be asked. */
import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { keepToCore, LOADED_CORE } from '../cores.ts'
import { percentile } from '../report/stats.ts'
import { cookieFrom, forged, Load, request } from './load.ts'
import type { Order, Ports, Used } from './server.ts'

/** `none` and `bad` are reads without a cookie, and with one that the server did not sign. */
export const CASES = ['read', 'write', 'none', 'bad'] as const
export type Case = (typeof CASES)[number]

/** One round: the bare handler, and right after it the measured one. */
export interface Round {
  /** Microseconds of CPU time a request. */
  readonly bare: number
  readonly measured: number
  /** Requests a second. */
  readonly bareRate: number
  readonly rate: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** The share of the time that the server's core was busy: where it is far below 1, the load was the limit. */
  readonly busy: number
}

export interface SubjectOptions extends Omit<Order, 'place'> {
  readonly store: Order['place']['store']
  readonly redisUrl: string
  readonly sessions: number
  readonly connections: number
  readonly execArgv?: readonly string[]
}

export class Subject {
  readonly #process: ChildProcess
  readonly #folder: string
  readonly #bare: Load
  readonly #measured: Load
  #cookies: string[] = []
  #visited = 0

  static async start(options: SubjectOptions): Promise<Subject> {
    const { setup, store, redisUrl, bytes, sessions, connections, execArgv = [] } = options
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-'))
    const order: Order = { setup, bytes, place: { store, redisUrl, folder } }
    const child = fork(join(import.meta.dirname, 'server.ts'), [JSON.stringify(order)], {
      stdio: 'inherit',
      execArgv: [...execArgv],
    })
    const died = once(child, 'exit').then(() => Promise.reject(new Error(`${setup} on ${store} ended.`)))
    const [ports] = (await Promise.race([once(child, 'message'), died])) as [Ports]
    died.catch(() => {})
    keepToCore(child.pid!, LOADED_CORE)
    const subject = new Subject(
      child,
      folder,
      await new Load(ports.bare).open(connections),
      await new Load(ports.measured).open(connections),
    )
    await subject.#signIn(sessions)
    return subject
  }

  private constructor(process: ChildProcess, folder: string, bare: Load, measured: Load) {
    this.#process = process
    this.#folder = folder
    this.#bare = bare
    this.#measured = measured
  }

  async #signIn(sessions: number): Promise<void> {
    const collected: string[] = []
    await this.#measured.run([request('sign-in', null)], sessions, (answer) => {
      collected.push(cookieFrom(answer))
    })
    // Shuffled by a stride, so that no order of making is also one of use.
    const stride = 7919
    this.#cookies = collected.map((_, i) => collected[(i * stride) % collected.length]!)
  }

  #requests(what: Case): readonly Buffer[] {
    if (what === 'none') return [request('read', null)]
    if (what === 'bad') return this.#cookies.map((cookie) => request('read', forged(cookie)))
    return this.#cookies.map((cookie) => request(what, cookie))
  }

  /**
   * Rounds of one case, in which bare and measured requests alternate, on through all sessions. Those that are to come are visited once
   * before: what libraries do once in a while, such as noting that a session is alive, is then done, and code is hot.
   */
  async rounds(what: Case, count: number, requests: number): Promise<Round[]> {
    const all = this.#requests(what)
    const some = Array.from({ length: count }, () =>
      Array.from({ length: requests }, () => all[this.#visited++ % all.length]!),
    )
    for (const round of some) await this.#measured.run(round, requests)
    await this.#bare.run(some[0]!, requests)
    const rounds: Round[] = []
    for (const round of some) {
      const bare = await this.#round(this.#bare, round, requests)
      const { cpu, rate, p50, p99, busy } = await this.#round(this.#measured, round, requests)
      rounds.push({ bare: bare.cpu, measured: cpu, bareRate: bare.rate, rate, p50, p99, busy })
    }
    return rounds
  }

  async #round(load: Load, requests: readonly Buffer[], count: number) {
    const before = await this.used()
    const { latencies, seconds } = await load.run(requests, count)
    const cpu = (await this.used()).cpu - before.cpu
    latencies.sort()
    return {
      cpu: cpu / count,
      rate: count / seconds,
      p50: percentile(latencies, 0.5),
      p99: percentile(latencies, 0.99),
      busy: cpu / 1e6 / seconds,
    }
  }

  /** Sends requests that nothing is measured by. */
  async ask(what: Case, requests: number): Promise<void> {
    await this.#measured.run(this.#requests(what), requests)
  }

  async used(): Promise<Used> {
    this.#process.send('used')
    return ((await once(this.#process, 'message')) as [Used])[0]
  }

  async stop(): Promise<void> {
    this.#bare.close()
    this.#measured.close()
    const ended = once(this.#process, 'exit')
    this.#process.disconnect()
    await ended
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
