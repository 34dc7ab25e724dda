import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Clock } from '../../../src/clock.ts'
import { systemClock } from '../../../src/clock.ts'
import type { SessionData } from '../../../src/stores/session-data.ts'
import type { Mark, SessionStore } from '../../../src/stores/store.ts'
import { isMark, MARK_SECONDS } from '../../../src/stores/store.ts'
import type { StoreOperation } from '../../../src/testing/faulty-store.ts'
import { ForwardingStore } from '../../support/forwarding-store.ts'
import type { FromServer, Gating, Stored } from './protocol.ts'

/** The request that the running code serves. */
export const serving = new AsyncLocalStorage<number>()

/** Where a server waits until the test lets it go on; and whether anything goes on in it at all. */
export class Gates {
  gating: Gating = 'none'
  readonly #tell: (message: FromServer) => void
  readonly #waiting = new Map<number, () => void>()
  readonly #seen = new Set<number>()
  #points = 0
  #running = 0
  #happenings = 0

  constructor(tell: (message: FromServer) => void) {
    this.#tell = tell
  }

  /** Tells the test what happened. */
  tell(message: FromServer): void {
    this.#happenings++
    if (message.kind === 'seen') this.#seen.add(message.request)
    this.#tell(message)
  }

  /** Waits where the test wants it, until it lets go. */
  pass(at: 'handler' | `before ${StoreOperation}` | `after ${StoreOperation}`): Promise<void> | void {
    const kind = at.split(' ', 1)[0]
    if (this.gating === 'none') return
    if (this.gating === 'handlers' && kind !== 'handler') return
    if (this.gating === 'before' && kind === 'after') return
    const point = this.#points++
    return new Promise((resolve) => {
      this.#waiting.set(point, resolve)
      this.tell({ kind: 'waiting', point, request: serving.getStore() ?? null, at })
    })
  }

  go(points: readonly number[]): void {
    for (const point of points) {
      this.#waiting.get(point)?.()
      this.#waiting.delete(point)
    }
  }

  /** Counts what the event loop does not show: work that another process, or a timer, does for us. */
  async during<R>(work: Promise<R>): Promise<R> {
    this.#running++
    try {
      return await work
    } finally {
      this.#running--
      this.#happenings++
    }
  }

  /** Resolves when these requests have arrived, and all that goes on waits at a gate or is over. */
  async settle(requests: readonly number[]): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS;) {
      const before = this.#happenings
      await nextTurn()
      const isQuiet = this.#running === 0 && this.#happenings === before
      quiet = isQuiet && requests.every((request) => this.#seen.has(request)) ? quiet + 1 : 0
    }
  }
}

/** Turns of the event loop in which nothing happens before we believe that nothing will. */
const QUIET_TURNS = 4

/** Time stands still until the test moves it; only what backs off from a conflict sleeps, really, for some milliseconds. */
export class OffsetClock implements Clock {
  time: number = Date.now()
  readonly #gates: Gates

  constructor(gates: Gates) {
    this.#gates = gates
  }

  now(): number {
    return this.time
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const sleep = systemClock.sleep(ms, signal)
    return ms < LONGEST_BACK_OFF ? this.#gates.during(sleep) : sleep
  }
}

/** Longer sleeps are those of watches over deadlines, which go on for ever. In milliseconds. */
const LONGEST_BACK_OFF = 50

/** A store whose every operation waits at a gate before it is carried out, and again before its reply arrives. */
export class GatedStore extends ForwardingStore {
  readonly #gates: Gates

  constructor(inner: SessionStore, gates: Gates, clock: Clock) {
    super(inner, clock)
    this.#gates = gates
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#pass('load', id, {}, () => this.inner.load(id))
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    const { touchedAt } = data
    return this.#pass('create', id, { ttl, touchedAt }, () => this.inner.create(id, data, ttl))
  }

  override replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    const { touchedAt } = data
    return this.#pass('replace', id, { ttl, touchedAt }, () =>
      this.inner.replace(id, data, expectedVersion, ttl),
    )
  }

  override end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return this.#pass('end', id, { ttl: MARK_SECONDS, mark }, () => this.inner.end(id, mark, expectedVersion))
  }

  override touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return this.#pass('touch', id, { ttl }, () => this.inner.touch(id, ttl, expectedVersion))
  }

  async #pass<R>(
    operation: StoreOperation,
    id: string,
    asked: { ttl?: number; mark?: Mark; touchedAt?: number },
    carryOut: () => Promise<R>,
  ): Promise<R> {
    await this.#gates.pass(`before ${operation}`)
    const result = await this.#gates.during(carryOut())
    this.#gates.tell(this.#stored(operation, id, asked, result))
    await this.#gates.pass(`after ${operation}`)
    return result
  }

  #stored(
    operation: StoreOperation,
    id: string,
    { ttl, mark, touchedAt }: { ttl?: number; mark?: Mark; touchedAt?: number },
    result: unknown,
  ): Stored {
    const at = this.clock.now()
    const found = operation === 'load' ? (result as SessionData | Mark | null) : null
    const record = found === null || isMark(found) ? null : found
    return {
      kind: 'stored',
      request: serving.getStore() ?? null,
      operation,
      id,
      mark: mark ?? null,
      ok: operation === 'load' ? record !== null : result === true,
      at,
      until: ttl === undefined ? null : at + ttl * 1000,
      touchedAt: touchedAt ?? record?.touchedAt ?? null,
    }
  }
}
