import type { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import { isMark, MARK_SECONDS } from '../stores/store.ts'

/** What a store does, in its simplest form. Time is in seconds. */
export class StoreModel {
  now = 0
  readonly #entries = new Map<string, { what: SessionData | Mark; until: number }>()

  at(id: string): SessionData | Mark | null {
    const entry = this.#entries.get(id)
    return entry !== undefined && this.now < entry.until ? entry.what : null
  }

  versionOf(id: string): string | undefined {
    const found = this.at(id)
    return found === null || isMark(found) ? undefined : found.version
  }

  create(id: string, data: SessionData, ttl: number): boolean {
    return this.at(id) === null && this.#put(id, data, this.now + ttl)
  }

  replace(id: string, data: SessionData, expected: string, ttl: number): boolean {
    return this.versionOf(id) === expected && this.#put(id, data, this.now + ttl)
  }

  touch(id: string, ttl: number, expected: string): boolean {
    if (this.versionOf(id) !== expected) return false
    const { what, until } = this.#entries.get(id)!
    return this.#put(id, what, Math.max(until, this.now + ttl))
  }

  end(id: string, mark: Mark, expected: string): boolean {
    return this.versionOf(id) === expected && this.#put(id, mark, this.now + MARK_SECONDS)
  }

  delete(id: string): boolean {
    return this.versionOf(id) !== undefined && this.#entries.delete(id)
  }

  #put(id: string, what: SessionData | Mark, until: number): boolean {
    this.#entries.set(id, { what, until })
    return true
  }
}

/** Pseudo-random whole numbers from 0 to below `n`, the same at every run: a linear congruence, its upper bits. */
export function seeded(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return (state >>> 12) % n
  }
}

export function shuffle<T>(items: T[], random: (n: number) => number): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random(i + 1)
    ;[items[i], items[j]] = [items[j]!, items[i]!]
  }
  return items
}
