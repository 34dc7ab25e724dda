import { monitorEventLoopDelay } from 'node:perf_hooks'

import { onTestFinished, vi } from 'vitest'

import { seeded } from '../../src/testing/_store-model.ts'
import type { AppOptions } from './app.ts'
import type { App, AppSettings } from './app-process.ts'
import { startApp } from './app-process.ts'
import type { Answer, Violation } from './ledger.ts'
import { Ledger, VIOLATIONS } from './ledger.ts'
import { Visitor } from './visitor.ts'

/** `npm run test:faults` tries everything, at length; a plain `npm test` a short cut of it. */
export const ALL: boolean = process.env.HOLDFAST_FAULTS === 'all'

/** What the store has to answer in, in milliseconds; the default is 1000. */
export const STORE_TIMEOUT: number = ALL ? 1000 : 400

// The work is counted in requests, and how fast they go is for the machine to say: this is for a test that hangs.
if (ALL) vi.setConfig({ testTimeout: 180_000 })

const lag = monitorEventLoopDelay({ resolution: 5 })
lag.enable()

/** Milliseconds by which clients are back: ioredis waits up to 5.2 s between two attempts to connect, node-redis 2, the store's own less than one. */
export const RECOVERY = 10_000
export const OWN_RECOVERY = 3000

/** Milliseconds after its deadline by which a request must have been answered. */
const GRACE = 100

/** What came of a run. */
export interface Figures extends Record<Violation, number> {
  readonly requests: number
  /** Requests answered by 503. */
  readonly refused: number
  /** Milliseconds, of the requests under way while there was a fault. */
  readonly p50: number
  readonly p99: number
  readonly worst: number
  /** Requests answered more than 100 ms after their deadlines, beside what they waited for a processor, and the event loops' longest stall. */
  readonly late: number
  /** Milliseconds from the fault's end until no request sent since fails any more, less the event loops' longest stall. */
  readonly recovery: number
  /** Processes that ended otherwise than asked, by a rejection that nobody handled say. */
  readonly crashed: number
}

/** What the figures of every run must say. */
export const UNHARMED: Partial<Figures> = {
  ...(Object.fromEntries(VIOLATIONS.map((kind) => [kind, 0])) as Record<Violation, number>),
  late: 0,
  crashed: 0,
}

/**
 * How many deadlines a request has: one to find its session in; where it changes that, another to save it in; and where somebody signs in
 * whose session has ended meanwhile, a third to make another.
 */
function deadlinesOf({ what }: Answer): number {
  if (what.startsWith('GET /read')) return 1
  return what.startsWith('POST /sign-in') ? 3 : 2
}

/** What this share of the times do not exceed, to a tenth of a millisecond. */
export function percentile(times: readonly number[], share: number): number {
  const sorted = times.toSorted((a, b) => a - b)
  return Math.round(10 * (sorted[Math.floor(share * (sorted.length - 1))] ?? 0)) / 10
}

/** Prints the figures of some runs. */
export function print(table: Readonly<Record<string, Figures>>): void {
  const rows = Object.entries(table).map(
    ([name, { requests, refused, p50, p99, worst, late, recovery, ...rest }]) => [
      name,
      { requests, refused, p50, p99, worst, late, recovery, ...rest },
    ],
  )
  console.table(Object.fromEntries(rows))
}

/** Servers on one store, and visitors who use them while they are harmed. */
export class Run {
  readonly apps: readonly App[]
  readonly ledger: Ledger
  readonly #visitors: readonly Visitor[]
  readonly #stop = new AbortController()
  readonly #lives: Promise<unknown>
  /** Milliseconds. */
  readonly #deadline: number
  #harmedAt = Infinity
  #healedAt = Infinity

  private constructor(apps: readonly App[], visitors: number, deadline: number) {
    this.apps = apps
    this.#deadline = deadline
    this.ledger = new Ledger(
      apps.map(({ port }) => port),
      apps.map(({ pid }) => pid),
    )
    this.#visitors = Array.from(
      { length: visitors },
      (_, n) => new Visitor(`visitor${n}`, this.ledger, seeded(n)),
    )
    this.#lives = Promise.all(this.#visitors.map((visitor) => visitor.live(this.#stop.signal)))
  }

  /** Starts the servers, and lets the visitors loose; at the latest when the test ends, they stop. */
  static async start(
    apps: readonly AppOptions[],
    { visitors = 4, ...settings }: AppSettings & { visitors?: number } = {},
  ): Promise<Run> {
    const started = await Promise.all(
      apps.map((options) =>
        startApp(
          { ...options, sessions: { storeTimeout: STORE_TIMEOUT / 1000, ...options.sessions } },
          settings,
        ),
      ),
    )
    const given = apps.map(({ sessions }) => 1000 * (sessions?.storeTimeout ?? 0))
    const run = new Run(started, visitors, Math.max(STORE_TIMEOUT, ...given))
    onTestFinished(() => run.#drop())
    return run
  }

  /** Resolves when each server has acknowledged so many more requests. */
  acknowledged(count: number): Promise<void> {
    return this.ledger.each(count, ({ status }) => status === 200)
  }

  /** Resolves when each server has answered so many requests that are sent from now on, in whatever way. */
  answered(count: number): Promise<void> {
    const since = performance.now()
    return this.ledger.each(count, ({ from }) => from >= since)
  }

  /** Resolves when each server has refused so many more requests. */
  refused(count: number): Promise<void> {
    return this.ledger.each(count, ({ status }) => status === 503)
  }

  /** From here on there is a fault. */
  async harm(fault: () => unknown): Promise<void> {
    await this.#stood()
    this.#harmedAt = performance.now()
    await fault()
  }

  /** From here on there is none. */
  async heal(end: () => unknown): Promise<void> {
    await end()
    this.#healedAt = performance.now()
  }

  /** Ends it at once, where a test gives up midway. */
  #drop(): void {
    this.#stop.abort()
    this.ledger.close()
    for (const app of this.apps) app.kill('SIGKILL')
  }

  /** Lets the visitors finish what they are doing, looks whether all promises are kept, and stops the servers. */
  async finish({ isQuiet = false } = {}): Promise<Figures> {
    this.#stop.abort()
    await this.#lives
    const stood = await this.#stood()
    await Promise.all(this.#visitors.map((visitor) => visitor.audit()))
    this.ledger.close()
    const endings = await Promise.all(this.apps.map((app) => app.stop()))
    const crashes = endings.filter(({ code, stderr }) => code !== 0 || stderr !== '')
    if (!isQuiet) {
      for (const { code, signal, stderr } of crashes)
        console.error(`A server ended with ${code ?? signal}:\n${stderr}`)
      for (const { kind, what } of this.ledger.violations.slice(0, 5)) console.error(`${kind}: ${what}`)
    }
    return { ...this.#count(stood), crashed: crashes.length }
  }

  #count(stood: number): Omit<Figures, 'crashed'> {
    const { answers, violations } = this.ledger
    const during = answers.filter(({ from, to }) => to >= this.#harmedAt && from < this.#healedAt)
    const times = during.map(({ from, to }) => to - from)
    const kinds = VIOLATIONS.map((kind) => [kind, violations.filter((one) => one.kind === kind).length])
    return {
      ...(Object.fromEntries(kinds) as Record<Violation, number>),
      requests: answers.length,
      refused: answers.filter(({ status }) => status === 503).length,
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
      worst: percentile(times, 1),
      late: during.filter(
        (answer) =>
          answer.to - answer.from - answer.starved > deadlinesOf(answer) * this.#deadline + GRACE + stood,
      ).length,
      recovery: this.#recovery(answers, stood),
    }
  }

  #recovery(answers: readonly Answer[], stood: number): number {
    const since = answers.filter(({ from }) => from >= this.#healedAt)
    const failures = since.filter(({ status }) => status !== 200).map(({ to }) => to)
    const firsts = this.apps.map(
      (_, server) => since.find((it) => it.server === server && it.status === 200)?.to ?? Infinity,
    )
    return Math.max(0, Math.round(Math.max(...failures, ...firsts) - this.#healedAt - stood))
  }

  /** The longest that a server's event loop has stood still since this was last asked, or ours: nobody keeps a deadline who does not run. */
  async #stood(): Promise<number> {
    const measures = await Promise.all(
      this.apps.map((app) => app.ask({ ask: 'measures' }).catch(() => ({ stood: 0 }))),
    )
    const own = lag.max / 1e6
    lag.reset()
    return own + Math.max(...measures.map(({ stood }) => stood))
  }
}
