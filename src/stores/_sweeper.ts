import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Clock } from '../clock.ts'
import { publish } from '../events.ts'

/**
 * Cleans a store up at regular intervals, until it is stopped. A cleanup that fails is told of and does not
 * end the others; waiting for the next one keeps no process alive.
 */
export class Sweeper {
  readonly #clock: Clock
  readonly #interval: number
  readonly #sweep: () => Promise<number>
  #running: AbortController | null = null
  #told = false

  /**
   * @param interval seconds from the end of one cleanup to the start of the next
   * @param sweep removes what has expired; resolves to how many records those were
   */
  constructor(clock: Clock, interval: number, sweep: () => Promise<number>) {
    this.#clock = clock
    this.#interval = interval
    this.#sweep = sweep
  }

  /** Starts, where nobody has started or stopped it yet: what a store calls at each use. */
  startAtFirstUse(): void {
    if (!this.#told) this.start()
  }

  /** Starts; does nothing while running. */
  start(): void {
    this.#told = true
    if (this.#running !== null) return
    this.#running = new AbortController()
    void this.#repeat(this.#running.signal)
  }

  /** Stops, until `start` is called. A cleanup under way is carried through. */
  stop(): void {
    this.#told = true
    this.#running?.abort()
    this.#running = null
  }

  async #repeat(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#clock.sleep(this.#interval * 1000, signal)
      } catch {
        // Only stopping ends a sleep early.
        return
      }
      try {
        publish({ kind: 'sweep', removed: await this.#sweep() })
      } catch (error) {
        if (!signal.aborted) publish({ kind: 'sweep', removed: 0, error })
      }
    }
  }
}

/**
 * Does work slice by slice and lets the event loop turn between two, so that no cleanup, however large,
 * holds a request up. Real turns, whatever the clock: a clock that stands still must not stop it.
 * @param slices does one slice at each step; yields, and in the end returns, how many records it removed
 * @returns how many were removed in all
 */
export async function inSlices(
  slices: Generator<number, number> | AsyncGenerator<number, number>,
): Promise<number> {
  let removed = 0
  for (;;) {
    const { value, done } = await slices.next()
    removed += value
    if (done) return removed
    await nextTurn()
  }
}
