import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { SessionData } from './session-data.ts'

/** How long a session lives in a store when nobody says, in seconds; the same for every store. */
export const DEFAULT_TTL = 3600

/** How long a mark stands under an ended id, in seconds: longer than any answer still under way. */
export const MARK_SECONDS = 30

/**
 * What stands under an ended id for {@link MARK_SECONDS}, in place of its record: it tells a late
 * request that the session ended, and keeps a slow one from bringing it back.
 */
export interface Mark {
  readonly kind: 'mark'
  /** Why the session ended: signed out, ended from outside, given a new id, or a rotation that was taken back. */
  readonly reason: 'destroyed' | 'revoked' | 'rotated' | 'withdrawn'
  /** Of a rotation: the id that came after. */
  readonly successor: string | null
  /** Of a rotation: whether the session after it belongs to the same user as before. */
  readonly sameUser: boolean
}

/** Tells a mark from a record. */
export function isMark(found: Glimpse | Mark | null): found is Mark {
  return found !== null && 'kind' in found
}

/** As much of a record as it takes to tell whether its session still stands, and is as it was. */
export type Glimpse = Pick<SessionData, 'version' | 'createdAt' | 'touchedAt' | 'expiresAt'>

/** Options that every store takes. */
export interface SessionStoreOptions {
  /** Where the store's time comes from. Default: the machine's clock. */
  clock?: Clock
}

/**
 * Where records live: the contract every store keeps.
 *
 * Four methods make a store. The others have defaults built on those four: right within one
 * process, where they queue by id and keep the marks of ended sessions in memory; across
 * processes they promise nothing. A store whose backend can compare and write in one step
 * overrides them, sets {@link atomic}, and keeps every promise across processes too.
 *
 * `ttl` is in seconds, fractions allowed, counted by the store's own clock. `ttl <= 0` means
 * already expired. At the very instant of expiry a session is gone.
 *
 * What a store returns is the caller's own: changing it changes nothing in the store.
 * A record that cannot be read rejects with `ERR_SESSION_RECORD`.
 *
 * @example
 * class FileStore extends SessionStore {
 *   get(id: string) { … }
 *   set(id: string, data: SessionData, ttl?: number) { … }
 *   delete(id: string) { … }
 *   exists(id: string) { … }
 * }
 */
export abstract class SessionStore {
  /** Whether `create`, `replace`, `end` and `touch` are one step each even across processes. */
  readonly atomic: boolean = false
  /** The time that its records are dated by, and sessions in it go by unless they are given another. */
  readonly clock: Clock
  readonly #queues = new Map<string, Promise<unknown>>()
  readonly #marks = new Map<string, { mark: Mark; until: number }>()
  readonly #deadlines = new Map<string, number>()
  #purgeAt = PURGE_SIZE

  constructor(options: SessionStoreOptions = {}) {
    if (new.target === SessionStore)
      throw new SessionError(
        'ERR_SESSION_OPTION',
        'SessionStore is abstract: extend it with get, set, delete and exists, or use a store that Holdfast brings.',
        { rule: 'store-abstract' },
      )
    this.clock = options.clock ?? systemClock
  }

  /** The record under `id`; null when it is missing, expired or ended. */
  abstract get(id: string): Promise<SessionData | null>

  /**
   * Writes a record, whatever stood there before. The core never calls it: it cannot keep the promises.
   * @param ttl seconds to live. Default {@link DEFAULT_TTL}
   */
  abstract set(id: string, data: SessionData, ttl?: number): Promise<void>

  /** Removes a record. True when there was one; a mark stays. */
  abstract delete(id: string): Promise<boolean>

  /** Whether `get` would find a record. */
  abstract exists(id: string): Promise<boolean>

  /** What stands under `id`: its record, the mark it left when it ended, or null. */
  async load(id: string): Promise<SessionData | Mark | null> {
    await this.#queues.get(id)
    const found = this.#markOf(id) ?? (await this.get(id))
    if (found !== null) return found
    // The record may have been ended while it was read: then its mark is the answer, not nothing.
    await this.#queues.get(id)
    return this.#markOf(id)
  }

  /** Writes a new record. False when the id is taken or marked; then nothing is written. */
  create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.#alone(id, async () => {
      if (this.#markOf(id) !== null || (await this.exists(id))) return false
      await this.#put(id, data, ttl)
      return true
    })
  }

  /**
   * Writes over the record of version `expectedVersion`. False when another version stands there,
   * or none: it never creates. That single rule is what keeps an ended session ended.
   * `touchedAt` moves only forward here too: the writer may have read the record before the last touch.
   */
  replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    return this.#alone(id, async () => {
      const present = this.#markOf(id) === null ? await this.get(id) : null
      if (present === null || present.version !== expectedVersion) return false
      await this.#put(id, withTouchedAt(data, Math.max(data.touchedAt, present.touchedAt)), ttl)
      return true
    })
  }

  /**
   * Ends a session: its record becomes `mark`, in one step. False when there is no record, when it is of
   * another version than `expectedVersion`, or when it has ended already: a mark is never overwritten.
   */
  end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return this.#alone(id, async () => {
      const present = this.#markOf(id) === null ? await this.get(id) : null
      if (present === null || (expectedVersion !== undefined && present.version !== expectedVersion))
        return false
      if (!(await this.delete(id))) return false
      this.#deadlines.delete(id)
      this.#marks.set(id, { mark: Object.freeze({ ...mark }), until: this.clock.now() + MARK_SECONDS * 1000 })
      this.#purge()
      return true
    })
  }

  /**
   * Notes activity: moves `touchedAt` to now and the time to live to `ttl`, each only forward, and writes no data
   * and no new version. False when there is no record, or one of another version than `expectedVersion`.
   */
  touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return this.#alone(id, async () => {
      const present = this.#markOf(id) === null ? await this.get(id) : null
      if (present === null || (expectedVersion !== undefined && present.version !== expectedVersion))
        return false
      const now = this.clock.now()
      const left = ((this.#deadlines.get(id) ?? now) - now) / 1000
      const later = Math.max(ttl, left)
      if (later > 0) await this.#put(id, withTouchedAt(present, Math.max(now, present.touchedAt)), later)
      return true
    })
  }

  /**
   * Looks at many sessions at once: how those are found out that have ended while a socket was open on them. What `load` would give for
   * each id, in their order, the data perhaps left out; a record that cannot be read counts as none.
   */
  peek(ids: readonly string[]): Promise<(Glimpse | Mark | null)[]> {
    return Promise.all(ids.map((id) => this.load(id).catch(noneIfUnreadable)))
  }

  /** Removes what has expired, where the backend does not do it by itself. Resolves to how many records it removed. */
  clearExpired(): Promise<number> {
    return Promise.resolve(0)
  }

  /** Lets go of what the store itself opened; never of what was handed in. */
  close(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Runs `step` after every earlier step on the same id. */
  #alone<R>(id: string, step: () => Promise<R>): Promise<R> {
    const turn = (this.#queues.get(id) ?? Promise.resolve()).then(step)
    const settled = turn.then(ignore, ignore).then(() => {
      if (this.#queues.get(id) === settled) this.#queues.delete(id)
    })
    this.#queues.set(id, settled)
    return turn
  }

  async #put(id: string, data: SessionData, ttl: number): Promise<void> {
    await this.set(id, data, ttl)
    this.#deadlines.set(id, deadlineOf(ttl, this.clock.now()))
    this.#purge()
  }

  #markOf(id: string): Mark | null {
    const entry = this.#marks.get(id)
    return entry !== undefined && this.clock.now() < entry.until ? entry.mark : null
  }

  /** Forgets marks and deadlines that are past, each time their number has doubled. */
  #purge(): void {
    if (this.#marks.size + this.#deadlines.size < this.#purgeAt) return
    const now = this.clock.now()
    for (const [id, { until }] of this.#marks) if (until <= now) this.#marks.delete(id)
    for (const [id, deadline] of this.#deadlines) if (deadline <= now) this.#deadlines.delete(id)
    this.#purgeAt = Math.max(PURGE_SIZE, 2 * (this.#marks.size + this.#deadlines.size))
  }
}

const PURGE_SIZE = 1000

/**
 * When `ttl` seconds from `now` have passed, in epoch milliseconds: whole ones, as the clocks of backends
 * count, and never none at all for a `ttl` above zero.
 */
export function deadlineOf(ttl: number, now: number): number {
  if (!(ttl > 0)) return now
  return Math.min(now + Math.max(1, Math.round(ttl * 1000)), Number.MAX_SAFE_INTEGER)
}

/** The same record, with its last activity at `touchedAt`. */
export function withTouchedAt(record: SessionData, touchedAt: number): SessionData {
  if (touchedAt === record.touchedAt) return record
  const { id, version, userId, createdAt, updatedAt, expiresAt, flash, device } = record
  return new SessionData({
    id,
    data: record.json,
    version,
    userId,
    createdAt,
    updatedAt,
    touchedAt,
    expiresAt,
    flash,
    device,
  })
}

/** For a session that cannot be read: it is a session not found. */
export function noneIfUnreadable(error: unknown): null {
  if (error instanceof SessionError && error.code === 'ERR_SESSION_RECORD') return null
  throw error
}

const ignore = (): void => {}
