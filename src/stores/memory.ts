import { publish } from '../events.ts'
import { LONGEST_TIMER, OptionsReader } from './_options.ts'
import { RecencyMap } from './_recency-map.ts'
import { inSlices, Sweeper } from './_sweeper.ts'
import { Watchers } from './_watchers.ts'
import type { NoticeListener, Notices } from './notices.ts'
import { SessionData } from './session-data.ts'
import type { Mark, SessionStoreOptions } from './store.ts'
import { DEFAULT_TTL, deadlineOf, MARK_SECONDS, SessionStore } from './store.ts'

/** Options of {@link MemorySessionStore}. */
export interface MemorySessionStoreOptions extends SessionStoreOptions {
  /** Seconds that a record lives when `set` is not told. Default 3600. */
  defaultTtl?: number
  /** Seconds between two cleanups. Default 300. */
  cleanupInterval?: number
  /** How many sessions to hold; beyond that, the least recently used ones leave. Default 100,000. */
  maxSessions?: number
  /** How many bytes of session data to hold, counted as UTF-8 JSON; beyond that, the least recently used ones leave. Default 256 MiB. */
  maxTotalBytes?: number
}

/**
 * Keeps sessions in this process: for development, tests, and servers that may forget them all at a restart.
 *
 * Each operation happens at once, within one tick. A record is kept as JSON text, so what goes in and what comes
 * out are copies. The store is bounded: when it is full, the least recently used sessions leave, which it says once,
 * by a warning and an event. Expired ones leave when they are asked for, and at cleanups, which begin with the first
 * write, work in slices of a millisecond or less, and keep no process alive. Notices are told at once, before the operation has answered.
 */
export class MemorySessionStore extends SessionStore implements Notices {
  override readonly atomic: boolean = true
  readonly #records = new RecencyMap<Entry>()
  /** In the order of their ending, as all last equally long. An id has a live record or a mark, never both. */
  readonly #marks = new Map<string, { mark: Mark; endsAt: number }>()
  readonly #watchers = new Watchers()
  readonly #sweeper: Sweeper
  readonly #defaultTtl: number
  readonly #maxSessions: number
  readonly #maxTotalBytes: number
  #totalBytes = 0
  #saidFull = false

  /** @throws SessionError `ERR_SESSION_OPTION` when an option is unknown or out of range */
  constructor(options: MemorySessionStoreOptions = {}) {
    const reader = new OptionsReader('memory', options, OPTIONS)
    super(options)
    this.#defaultTtl = reader.seconds('defaultTtl', DEFAULT_TTL)
    this.#maxSessions = reader.count('maxSessions', 100_000)
    this.#maxTotalBytes = reader.count('maxTotalBytes', 256 * 1024 * 1024)
    const interval = reader.seconds('cleanupInterval', 300, LONGEST_TIMER)
    this.#sweeper = new Sweeper(this.clock, interval, () => this.clearExpired())
  }

  /** How many sessions it holds. Expired ones count until they are asked for or cleaned up; marks never do. */
  get size(): number {
    return this.#records.size
  }

  async get(id: string): Promise<SessionData | null> {
    const record = this.#find(id)?.record
    return record === undefined ? null : copyOf(id, record, record.touchedAt)
  }

  async set(id: string, data: SessionData, ttl: number = this.#defaultTtl): Promise<void> {
    this.#put(id, copyOf(id, data, data.touchedAt), ttl)
    this.#marks.delete(id)
    this.#watchers.tell(id, data.version)
  }

  async delete(id: string): Promise<boolean> {
    const entry = this.#find(id)
    if (entry === undefined) return false
    this.#remove(id, entry)
    this.#watchers.tell(id, null)
    return true
  }

  async exists(id: string): Promise<boolean> {
    return this.#find(id) !== undefined
  }

  override async load(id: string): Promise<SessionData | Mark | null> {
    const record = this.#find(id)?.record
    if (record !== undefined) return copyOf(id, record, record.touchedAt)
    return this.#markOf(id)
  }

  override async create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    if (this.#find(id) !== undefined || this.#markOf(id) !== null) return false
    this.#put(id, copyOf(id, data, data.touchedAt), ttl)
    return true
  }

  override async replace(
    id: string,
    data: SessionData,
    expectedVersion: string,
    ttl: number,
  ): Promise<boolean> {
    const present = this.#find(id)?.record
    if (present === undefined || present.version !== expectedVersion) return false
    this.#put(id, copyOf(id, data, Math.max(data.touchedAt, present.touchedAt)), ttl)
    this.#watchers.tell(id, data.version)
    return true
  }

  override async end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    const entry = this.#find(id, expectedVersion)
    if (entry === undefined) return false
    this.#remove(id, entry)
    this.#forgetMarks()
    const endsAt = deadlineOf(MARK_SECONDS, this.clock.now())
    this.#marks.set(id, { mark: Object.freeze({ ...mark }), endsAt })
    this.#watchers.tell(id, null)
    return true
  }

  override async touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    const entry = this.#find(id, expectedVersion)
    if (entry === undefined) return false
    const now = this.clock.now()
    entry.record = copyOf(id, entry.record, Math.max(now, entry.record.touchedAt))
    entry.endsAt = Math.max(entry.endsAt, deadlineOf(ttl, now))
    return true
  }

  async watch(id: string, listener: NoticeListener): Promise<() => void> {
    return this.#watchers.add(id, listener)
  }

  /** Removes what has expired, in slices that hold nothing up. Resolves to how many sessions it removed. */
  override clearExpired(): Promise<number> {
    this.#forgetMarks()
    return inSlices(this.#sweepSlices())
  }

  /** Removes every session, and every mark. */
  clear(): void {
    this.#records.clear()
    this.#marks.clear()
    this.#totalBytes = 0
    this.#watchers.tellAll()
  }

  /** Cleans up every `cleanupInterval` seconds from now on. The store begins by itself with its first write. */
  startCleanup(): void {
    this.#sweeper.start()
  }

  /** Stops cleaning up, until `startCleanup` is called. Expired sessions are still never found. */
  stopCleanup(): void {
    this.#sweeper.stop()
  }

  /** Stops cleaning up. The sessions stay until the store itself is forgotten. */
  override async close(): Promise<void> {
    this.#sweeper.stop()
  }

  /** What is live under `id`, at the version expected, if any is; what has expired is removed. */
  #find(id: string, expectedVersion?: string): Entry | undefined {
    const entry = this.#records.get(id)
    if (entry === undefined) return undefined
    if (entry.endsAt <= this.clock.now()) {
      this.#remove(id, entry)
      return undefined
    }
    return expectedVersion === undefined || entry.record.version === expectedVersion ? entry : undefined
  }

  #markOf(id: string): Mark | null {
    const entry = this.#marks.get(id)
    return entry !== undefined && this.clock.now() < entry.endsAt ? entry.mark : null
  }

  #put(id: string, record: SessionData, ttl: number): void {
    this.#sweeper.startAtFirstUse()
    const present = this.#records.get(id)
    if (present !== undefined) this.#remove(id, present)
    const now = this.clock.now()
    const entry = { record, bytes: Buffer.byteLength(record.json), endsAt: deadlineOf(ttl, now) }
    if (entry.endsAt <= now) return
    this.#records.set(id, entry)
    this.#totalBytes += entry.bytes
    this.#makeRoom()
  }

  #remove(id: string, entry: Entry): void {
    this.#records.delete(id)
    this.#totalBytes -= entry.bytes
  }

  /** Lets the least recently used sessions go until both limits hold; never the last one, which was just written. */
  #makeRoom(): void {
    for (;;) {
      const { size, oldest } = this.#records
      if (size === 1 || (size <= this.#maxSessions && this.#totalBytes <= this.#maxTotalBytes)) return
      this.#sayFull(size > this.#maxSessions ? 'maxSessions' : 'maxTotalBytes')
      this.#remove(oldest!.id, oldest!.value)
      this.#watchers.tell(oldest!.id, null)
    }
  }

  #sayFull(limit: 'maxSessions' | 'maxTotalBytes'): void {
    if (this.#saidFull) return
    this.#saidFull = true
    publish({ kind: 'evicting', limit })
    console.warn(
      `Holdfast: the memory store has reached ${limit}, and lets its least recently used sessions go. ` +
        `Raise ${limit}, or use a store that is not bounded by memory. This is said once.`,
    )
  }

  #forgetMarks(): void {
    const now = this.clock.now()
    for (const [id, { endsAt }] of this.#marks) {
      if (now < endsAt) return
      this.#marks.delete(id)
    }
  }

  /** Goes through all sessions, some {@link SLICE} of them in a slice. */
  *#sweepSlices(): Generator<number, number> {
    let seen = 0
    let removed = 0
    for (const part of this.#records.parts()) {
      const now = this.clock.now()
      for (const { id, value: entry } of part) {
        seen++
        if (now < entry.endsAt) continue
        this.#remove(id, entry)
        removed++
      }
      if (seen < SLICE) continue
      yield removed
      seen = removed = 0
    }
    return removed
  }
}

/** A record as the store keeps it. It is never handed out, so nobody parses its data. */
interface Entry {
  record: SessionData
  readonly bytes: number
  endsAt: number
}

/** How many sessions a cleanup looks at before it lets the event loop turn: well below a millisecond's work. */
const SLICE = 1000

const OPTIONS = ['clock', 'defaultTtl', 'cleanupInterval', 'maxSessions', 'maxTotalBytes']

/** A record of its own under the id that was asked for: strings are all that it shares with `data`, and they cannot change. */
function copyOf(id: string, data: SessionData, touchedAt: number): SessionData {
  const { version, userId, createdAt, updatedAt, expiresAt } = data
  const flash = data.flash.length === 0 ? undefined : [...data.flash]
  return new SessionData({
    id,
    data: data.json,
    version,
    userId,
    createdAt,
    updatedAt,
    touchedAt,
    expiresAt,
    ...(flash && { flash }),
  })
}
