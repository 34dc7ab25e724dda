import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { OptionsReader } from './_options.ts'
import { NONE, RecordTable } from './_record-table.ts'
import { isTracking } from './_redis-tracking.ts'
import type { SessionData } from './session-data.ts'
import type { Mark } from './store.ts'
import { isMark, MARK_SECONDS } from './store.ts'

/**
 * Keeps records that were read in this process, for as long as Redis has not told that they changed (its
 * [client-side caching](https://redis.io/docs/latest/develop/reference/client-side-caching/)).
 */
export interface RedisNearCache {
  /**
   * How long a session that was ended or written elsewhere may be served as it was, in seconds, where the network keeps Redis from telling. While
   * it tells, that takes as long as a message does. Up to 30. Default 1
   */
  maxStale?: number
  /** How many sessions to keep; beyond that, the least recently used ones leave. Default 10,000 */
  maxSessions?: number
  /** How many bytes of session data to keep, counted as UTF-8 JSON; beyond that, the least recently used ones leave. Default 32 MiB */
  maxTotalBytes?: number
}

/**
 * @param prefix of the keys, which ids follow
 * @param ask sends `CLIENT TRACKINGINFO` by the connection that the records are read by
 * @throws SessionError `ERR_SESSION_OPTION`
 */
export function nearCacheOf(
  options: RedisNearCache | true,
  prefix: string,
  ask: () => Promise<unknown>,
  clock: Clock,
): NearCache {
  const reader = new OptionsReader('redis-near-cache', options === true ? {} : (options as object), OPTIONS)
  const limits = {
    maxStale: 1000 * reader.seconds('maxStale', 1, MARK_SECONDS),
    maxSessions: reader.count('maxSessions', 10_000),
    maxTotalBytes: reader.count('maxTotalBytes', 32 * 1024 * 1024),
  }
  return new NearCache(limits, prefix, ask, clock)
}

/**
 * Records near at hand, each as Redis had it at {@link #freshAt} or later.
 *
 * Replies and invalidations come by one connection, in the order in which Redis made them. So whoever has the reply to a question
 * has every invalidation from before it was asked: one question now and then vouches for all records there are. A network that has gone silent answers
 * none, and soon nothing is served.
 */
export class NearCache {
  readonly #records = new RecordTable()
  /** The latest read of each id that is under way: what it finds may be kept, unless it is taken out of here before. */
  readonly #reads = new Map<string, object>()
  /** How many writes of each id are under way. */
  readonly #writes = new Map<string, number>()
  readonly #limits: Required<RedisNearCache>
  readonly #prefix: string
  readonly #ask: () => Promise<unknown>
  readonly #clock: Clock
  #totalBytes = 0
  #freshAt = -Infinity
  #isAsking = false
  #saidUntracked = false

  /** @param limits `maxStale` in milliseconds */
  constructor(limits: Required<RedisNearCache>, prefix: string, ask: () => Promise<unknown>, clock: Clock) {
    this.#limits = limits
    this.#prefix = prefix
    this.#ask = ask
    this.#clock = clock
  }

  /** The record under an id, the caller's own; null where Redis has to be asked. */
  get(id: string): SessionData | null {
    const now = instantBy(this.#clock)
    const age = now - this.#freshAt
    // Before it is too late, so that nobody waits for it.
    if (age > this.#limits.maxStale / 2 && !this.#isAsking) void this.#refresh(now)
    if (age > this.#limits.maxStale) return null
    const row = this.#records.find(id)
    if (row === NONE || this.#records.endsAt(row) <= now) return null
    this.#records.use(row)
    return this.#records.read(row)
  }

  /**
   * Reads, and keeps the record that was found: unless it was written or invalidated meanwhile, as then nobody knows which came first.
   * @param step resolves to what was found, and for how many milliseconds Redis will have it
   */
  async read(
    id: string,
    step: () => Promise<readonly [found: SessionData | Mark | null, left: number]>,
  ): Promise<SessionData | Mark | null> {
    const read = {}
    const now = instantBy(this.#clock)
    if (!this.#writes.has(id)) this.#reads.set(id, read)
    try {
      const [found, left] = await step()
      if (this.#reads.get(id) === read) this.#keep(id, found, now + left)
      return found
    } finally {
      if (this.#reads.get(id) === read) this.#reads.delete(id)
    }
  }

  /** Makes a write; from before it is sent until after it is answered, be that by an error, nothing is kept under its id. */
  async write<R>(id: string, step: () => Promise<R>): Promise<R> {
    this.#writes.set(id, (this.#writes.get(id) ?? 0) + 1)
    this.drop(id)
    try {
      return await step()
    } finally {
      const left = this.#writes.get(id)! - 1
      if (left > 0) this.#writes.set(id, left)
      else this.#writes.delete(id)
    }
  }

  /** Forgets a record, and what is being read of it. */
  drop(id: string): void {
    this.#reads.delete(id)
    const row = this.#records.find(id)
    if (row !== NONE) this.#remove(row)
  }

  /** @param key of what has changed; null where everything may have */
  invalidated(key: string | null): void {
    if (key === null) this.#clear()
    else if (key.startsWith(this.#prefix)) this.drop(key.slice(this.#prefix.length))
  }

  #clear(): void {
    this.#reads.clear()
    this.#records.clear()
    this.#totalBytes = 0
  }

  async #refresh(now: number): Promise<void> {
    this.#isAsking = true
    try {
      if (isTracking(await this.#ask())) this.#freshAt = now
      else this.#tellUntracked()
    } catch (error) {
      // An older Redis, or one that does not let this user ask. What else is wrong, the next command will tell.
      if (error instanceof Error && /^(ERR|NOPERM) /.test(error.message)) this.#tellUntracked()
    } finally {
      this.#isAsking = false
    }
  }

  #tellUntracked(): void {
    if (this.#saidUntracked) return
    this.#saidUntracked = true
    const error = new SessionError(
      'ERR_SESSION_STORE',
      'Redis does not track what the store reads, so the nearCache answers nothing: it takes node-redis 6 and Redis 6.2, ' +
        'a user who may +client|tracking and +client|trackinginfo, and nobody else who sets CLIENT TRACKING on that connection.',
    )
    publish({ kind: 'store-failure', operation: 'track', error })
    console.warn(`holdfast: ${error.message}`)
  }

  #keep(id: string, found: SessionData | Mark | null, endsAt: number): void {
    const present = this.#records.find(id)
    if (present !== NONE) this.#remove(present)
    // One that is pending, in a rotation, is about to be written again.
    if (found === null || isMark(found) || found.touchedAt < 0) return
    const row = this.#records.add(id)
    this.#records.write(row, found, found.json, found.touchedAt, endsAt)
    this.#totalBytes += this.#records.bytesOf(row)
    while (this.#records.size > this.#limits.maxSessions || this.#totalBytes > this.#limits.maxTotalBytes)
      this.#remove(this.#records.oldest)
  }

  #remove(row: number): void {
    this.#totalBytes -= this.#records.bytesOf(row)
    this.#records.delete(row)
  }
}

const OPTIONS = ['maxStale', 'maxSessions', 'maxTotalBytes']
