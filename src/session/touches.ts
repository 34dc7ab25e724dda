import type { SessionData } from '../stores/session-data.ts'
import type { Lifetimes } from './expiry.ts'
import { isTouchDue } from './expiry.ts'

/**
 * Decides which requests note a session's activity. Requests that were loaded side by side all see a touch due;
 * remembering who was touched lately lets one of them do it.
 */
export class Touches {
  readonly #lifetimes: Lifetimes
  /** Two generations, each of `touchEvery`, so that forgetting is dropping a set. */
  #young = new Set<string>()
  #old = new Set<string>()
  #since = 0

  constructor(lifetimes: Lifetimes) {
    this.#lifetimes = lifetimes
  }

  /** Whether the caller should touch the session now; it is then taken to be touched. */
  claim(record: SessionData, now: number): boolean {
    if (!isTouchDue(record, this.#lifetimes, now)) return false
    this.#age(now)
    // The record read says what others did: a claim of ours that is older than that says nothing any more.
    const key = `${record.id} ${record.touchedAt}`
    if (this.#young.has(key) || this.#old.has(key)) return false
    this.#young.add(key)
    return true
  }

  /** Takes a claim back, when the touch failed. */
  release(record: SessionData): void {
    const key = `${record.id} ${record.touchedAt}`
    this.#young.delete(key)
    this.#old.delete(key)
  }

  #age(now: number): void {
    const generation = Math.max(this.#lifetimes.touchEvery, MIN_GENERATION)
    if (now - this.#since < generation) return
    this.#old = now - this.#since < 2 * generation ? this.#young : new Set()
    this.#young = new Set()
    this.#since = now
  }
}

/** Long enough to cover the requests under way, in milliseconds. */
const MIN_GENERATION = 1000
