import type { Clock } from '../clock.ts'
import { instantBy, systemClock } from '../clock.ts'

/**
 * The time of a store's server, which all processes on that store have in common, however wrong their own clocks are. Between two looks
 * at it the monotonic clock counts, which nobody sets; before the first one it is the machine's.
 */
export class ServerClock implements Clock {
  /** Asks the server for its time, where nobody knows it yet. */
  ready: () => Promise<void> | null = () => null
  readonly #machine: Clock
  /** What the server's time is ahead of the monotonic clock; null while nobody knows. */
  #ahead: number | null = null

  constructor(machine: Clock = systemClock) {
    this.#machine = machine
  }

  now(): number {
    return this.#ahead === null ? this.#machine.now() : Math.round(this.#ahead + this.monotonic())
  }

  monotonic(): number {
    return instantBy(this.#machine)
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#machine.sleep(ms, signal)
  }

  /**
   * Takes in what the server said.
   * @param time epoch milliseconds
   * @param askedAt when it was asked; the answer has just come. The server may have told it at any moment between: what took long says
   * little, and what is known changes no further than it must to fit
   */
  set(time: number, askedAt: number): void {
    const now = this.monotonic()
    const known = this.#ahead ?? time - (askedAt + now) / 2
    this.#ahead = Math.min(Math.max(known, time - now), time - askedAt)
  }
}
