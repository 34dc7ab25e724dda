import type { DatabaseSync, StatementSync } from 'node:sqlite'

import type { Clock } from '../clock.ts'
import type { Watchers } from './_watchers.ts'

/**
 * Finds out that other connections have written to a database, and tells everybody who watches anything: SQLite itself pushes nothing to
 * other processes. Looks once a second, as long as anything is watched; that keeps no process alive.
 */
export class SqliteWatch {
  readonly #statement: StatementSync
  readonly #clock: Clock
  readonly #watchers: Watchers
  #running: AbortController | null = null

  constructor(database: DatabaseSync, clock: Clock, watchers: Watchers) {
    this.#statement = database.prepare('PRAGMA data_version')
    this.#statement.setReturnArrays?.(false)
    this.#clock = clock
    this.#watchers = watchers
  }

  /** Starts; does nothing while running. What is written from now on is noticed. */
  start(): void {
    if (this.#running !== null) return
    this.#running = new AbortController()
    void this.#repeat(this.#running.signal)
  }

  stop(): void {
    this.#running?.abort()
    this.#running = null
  }

  async #repeat(signal: AbortSignal): Promise<void> {
    let seen = this.#version()
    for (;;) {
      try {
        await this.#clock.sleep(EVERY, signal)
      } catch {
        // Only stopping ends a sleep early.
        return
      }
      if (this.#watchers.size === 0) return this.stop()
      const version = this.#version()
      if (version !== null && version === seen) continue
      seen = version
      this.#watchers.tellAll()
    }
  }

  /** A number that changes when another connection commits (sqlite.org/pragma.html#pragma_data_version); null where it cannot be read now. */
  #version(): unknown {
    try {
      return this.#statement.get()?.['data_version'] ?? null
    } catch {
      return null
    }
  }
}

/** Milliseconds between two looks. */
const EVERY = 1000
