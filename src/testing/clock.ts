import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Clock } from '../clock.ts'
import { SessionError } from '../errors.ts'

/**
 * A clock that stands still until a test moves it.
 *
 * @example
 * const clock = new ManualClock()
 * const store = new MemorySessionStore({ clock })
 * await clock.advance(3_600_000)
 */
export class ManualClock implements Clock {
  #now: number
  /** In no order: tests have few. */
  readonly #sleepers = new Set<Sleeper>()

  /** @param start epoch milliseconds. Default: midnight UTC, 1 January 2026 */
  constructor(start: number = Date.UTC(2026, 0, 1)) {
    this.#now = start
  }

  now(): number {
    return this.#now
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      if (!(ms > 0)) return resolve()
      const sleeper: Sleeper = {
        wakesAt: this.#now + ms,
        wake: () => {
          this.#sleepers.delete(sleeper)
          signal?.removeEventListener('abort', stop)
          resolve()
        },
      }
      const stop = (): void => {
        this.#sleepers.delete(sleeper)
        reject(signal!.reason as Error)
      }
      this.#sleepers.add(sleeper)
      signal?.addEventListener('abort', stop, { once: true })
    })
  }

  /**
   * Moves time forward. Whoever sleeps wakes at their own moment, the earliest first, and what they do then,
   * falling asleep again included, is done before the next one wakes.
   * @param ms milliseconds, not below zero
   */
  async advance(ms: number): Promise<void> {
    if (!(ms >= 0))
      throw new SessionError('ERR_SESSION_ARGUMENT', 'A clock moves forward: give milliseconds from 0 on.')
    const end = this.#now + ms
    // A turn of the event loop lets every promise callback run that can.
    await nextTurn()
    for (let next = this.#next(end); next !== null; next = this.#next(end)) {
      this.#now = Math.max(this.#now, next.wakesAt)
      next.wake()
      await nextTurn()
    }
    this.#now = Math.max(this.#now, end)
  }

  /** Who wakes next, up to `end`; of those who wake at once, the one who fell asleep first. */
  #next(end: number): Sleeper | null {
    let next: Sleeper | null = null
    for (const sleeper of this.#sleepers)
      if (sleeper.wakesAt <= end && (next === null || sleeper.wakesAt < next.wakesAt)) next = sleeper
    return next
  }
}

interface Sleeper {
  readonly wakesAt: number
  readonly wake: () => void
}
