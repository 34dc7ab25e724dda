import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'

/**
 * Ends waits that take too long. One coarse watch looks over all of them: a timer for each would cost
 * more than the store operation it guards.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #errors: WaitErrors
  /**
   * In no order. Not a Set: from time to time a Set moves to another table and leaves in the old one what was in it then, which, once the
   * old one is in the old generation, outlives its request by many collections, with all that it holds.
   */
  readonly #waits: Wait[] = []
  #watching = false
  #unsettled = 0
  #silentSince = Infinity

  constructor(clock: Clock, errors: WaitErrors) {
    this.#clock = clock
    this.#errors = errors
  }

  /** How much work has not settled, whether anybody still waits for it or not. */
  get unsettled(): number {
    return this.#unsettled
  }

  /** Since when all work has waited without any of it settling, by {@link instantBy}; Infinity where none waits. */
  get silentSince(): number {
    return this.#silentSince
  }

  /**
   * Waits for `work`, but not past `until`, nor more than {@link TICK} ms longer. The work itself goes on: what stores are built on cannot
   * take back a command that was sent, and an AbortSignal for each would cost every call what only one in a million uses.
   * @param until by {@link instantBy}
   * @param operation what the errors name
   */
  within<R>(work: Promise<R>, until: number, operation: string): Promise<R> {
    this.#unsettled++
    if (this.#silentSince === Infinity) this.#silentSince = instantBy(this.#clock)
    const { promise, resolve, reject } = Promise.withResolvers<R>()
    const wait: Wait = { until, operation, at: this.#waits.length, reject }
    this.#waits.push(wait)
    work.then(
      (value) => {
        this.#settle(wait)
        resolve(value)
      },
      (error: unknown) => {
        this.#settle(wait)
        reject(this.#errors.explain(operation, error))
      },
    )
    if (!this.#watching) void this.#watch()
    return promise
  }

  #settle(wait: Wait): void {
    this.#take(wait)
    this.#unsettled--
    this.#silentSince = this.#unsettled === 0 ? Infinity : instantBy(this.#clock)
  }

  /** Takes a wait out, the last one in its place. @returns whether it was there */
  #take(wait: Wait): boolean {
    if (wait.at === GONE) return false
    const last = this.#waits.pop()!
    if (last !== wait) {
      last.at = wait.at
      this.#waits[last.at] = last
    }
    wait.at = GONE
    return true
  }

  async #watch(): Promise<void> {
    this.#watching = true
    while (this.#waits.length > 0) {
      await this.#clock.sleep(TICK)
      const now = instantBy(this.#clock)
      const late = this.#waits.filter(({ until }) => now >= until)
      if (late.length > 0) void this.#expire(late)
    }
    this.#watching = false
  }

  async #expire(late: readonly Wait[]): Promise<void> {
    // Where the event loop stood still, the answers have come in time, and are still to be read.
    await nextTurn()
    for (const wait of late) if (this.#take(wait)) wait.reject(this.#errors.late(wait.operation))
  }
}

/** What waits reject with. */
export interface WaitErrors {
  /** For work whose time is up. */
  late(operation: string): Error
  /** For work that failed. */
  explain(operation: string, error: unknown): Error
}

interface Wait {
  readonly until: number
  readonly operation: string
  /** Where it stands among the others; {@link GONE} when it does no more. */
  at: number
  readonly reject: (error: Error) => void
}

const GONE = -1

/** Milliseconds between two looks. */
const TICK = 50
