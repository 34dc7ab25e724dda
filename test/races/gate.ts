import type { Clock } from '../../src/clock.ts'
import type { SessionData } from '../../src/stores/session-data.ts'
import type { Mark } from '../../src/stores/store.ts'
import { SessionStore } from '../../src/stores/store.ts'

/** What the core asks of a store. */
export type Call =
  | { readonly operation: 'load'; readonly id: string }
  | { readonly operation: 'create'; readonly id: string; readonly record: SessionData; readonly ttl: number }
  | {
      readonly operation: 'replace'
      readonly id: string
      readonly record: SessionData
      readonly expected: string
      readonly ttl: number
    }
  | {
      readonly operation: 'end'
      readonly id: string
      readonly mark: Mark
      readonly expected?: string | undefined
    }
  | {
      readonly operation: 'touch'
      readonly id: string
      readonly ttl: number
      readonly expected?: string | undefined
    }

/** A store whose every operation waits for the scheduler. */
export class GatedStore extends SessionStore {
  override readonly atomic = true
  readonly #hold: <R>(call: Call, run: (store: SessionStore) => Promise<R>) => Promise<R>

  constructor(hold: <R>(call: Call, run: (store: SessionStore) => Promise<R>) => Promise<R>) {
    super()
    this.#hold = hold
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#hold({ operation: 'load', id }, (store) => store.load(id))
  }

  override create(id: string, record: SessionData, ttl: number): Promise<boolean> {
    return this.#hold({ operation: 'create', id, record, ttl }, (store) => store.create(id, record, ttl))
  }

  override replace(id: string, record: SessionData, expected: string, ttl: number): Promise<boolean> {
    const call: Call = { operation: 'replace', id, record, expected, ttl }
    return this.#hold(call, (store) => store.replace(id, record, expected, ttl))
  }

  override end(id: string, mark: Mark, expected?: string): Promise<boolean> {
    return this.#hold({ operation: 'end', id, mark, expected }, (store) => store.end(id, mark, expected))
  }

  override touch(id: string, ttl: number, expected?: string): Promise<boolean> {
    return this.#hold({ operation: 'touch', id, ttl, expected }, (store) => store.touch(id, ttl, expected))
  }

  get(): never {
    throw new Error('The core asked for get.')
  }

  set(): never {
    throw new Error('The core asked for set.')
  }

  delete(): never {
    throw new Error('The core asked for delete.')
  }

  exists(): never {
    throw new Error('The core asked for exists.')
  }
}

/** A clock that moves when a step moves it, or the clock it goes by. */
export class SteppedClock implements Clock {
  readonly #base: SteppedClock | null
  #offset: number
  #sleepers: (() => void)[] = []

  constructor(offset: number, base: SteppedClock | null = null) {
    this.#base = base
    this.#offset = offset
  }

  now(): number {
    return this.#offset + (this.#base?.now() ?? 0)
  }

  /**
   * A short sleep is the core's back-off, before it goes to the store again: to be asleep or to wait there is the same to everybody
   * else. A long one is a look at deadlines.
   */
  sleep(ms: number): Promise<void> {
    return ms < 40 ? Promise.resolve() : new Promise((wake) => void this.#sleepers.push(wake))
  }

  advance(ms: number): void {
    this.#offset += ms
    for (const wake of this.#sleepers.splice(0)) wake()
  }
}
