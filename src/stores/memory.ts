import { publish } from '../events.ts'
import { answer } from './_answer.ts'
import { LONGEST_TIMER, OptionsReader } from './_options.ts'
import { NONE, RecordTable } from './_record-table.ts'
import { inSlices, Sweeper } from './_sweeper.ts'
import { Watchers } from './_watchers.ts'
import type { NoticeListener, Notices } from './notices.ts'
import type { SessionData } from './session-data.ts'
import type { Mark, SessionStoreOptions } from './store.ts'
import { DEFAULT_TTL, deadlineOf, MARK_SECONDS, SessionStore } from './store.ts'
import type { UserIndex } from './user-index.ts'

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
export class MemorySessionStore extends SessionStore implements Notices, UserIndex {
  override readonly atomic: boolean = true
  readonly #records = new RecordTable()
  /** In the order of their ending, as all last equally long. An id has a live record or a mark, never both. */
  readonly #marks = new Map<string, { mark: Mark; endsAt: number }>()
  /** The ids of the records that have a user, by that. */
  readonly #idsOfUsers = new Map<string, Set<string>>()
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
    return this.#recordOf(id)
  }

  async set(id: string, data: SessionData, ttl: number = this.#defaultTtl): Promise<void> {
    this.#put(id, data, data.touchedAt, ttl)
    this.#marks.delete(id)
    this.#watchers.tell(id, data.version)
  }

  async delete(id: string): Promise<boolean> {
    const row = this.#find(id)
    if (row === NONE) return false
    this.#remove(row)
    this.#watchers.tell(id, null)
    return true
  }

  async exists(id: string): Promise<boolean> {
    return this.#find(id) !== NONE
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return answer(() => this.#recordOf(id) ?? this.#markOf(id))
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return answer(() => {
      if (this.#find(id) !== NONE || this.#markOf(id) !== null) return false
      this.#put(id, data, data.touchedAt, ttl)
      return true
    })
  }

  override replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    return answer(() => {
      const row = this.#find(id, expectedVersion)
      if (row === NONE) return false
      this.#put(id, data, Math.max(data.touchedAt, this.#records.touchedAt(row)), ttl, row)
      this.#watchers.tell(id, data.version)
      return true
    })
  }

  override end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return answer(() => {
      const row = this.#find(id, expectedVersion)
      if (row === NONE) return false
      this.#remove(row)
      this.#forgetMarks()
      const endsAt = deadlineOf(MARK_SECONDS, this.clock.now())
      this.#marks.set(id, { mark: Object.freeze({ ...mark }), endsAt })
      this.#watchers.tell(id, null)
      return true
    })
  }

  override touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return answer(() => {
      const row = this.#find(id, expectedVersion)
      if (row === NONE) return false
      const now = this.clock.now()
      const touchedAt = Math.max(now, this.#records.touchedAt(row))
      this.#records.touch(row, touchedAt, Math.max(this.#records.endsAt(row), deadlineOf(ttl, now)))
      return true
    })
  }

  /** Does nothing: the records say whose they are. */
  async noteUser(): Promise<void> {}

  async idsOfUser(userId: string): Promise<readonly string[]> {
    return [...(this.#idsOfUsers.get(userId) ?? [])]
  }

  /** Does nothing: a record that is there is no hint. */
  async forgetUser(): Promise<void> {}

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
    this.#idsOfUsers.clear()
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

  /** The row of what is live under `id`, at the version expected, if any is; what has expired is removed. */
  #find(id: string, expectedVersion?: string): number {
    const row = this.#records.find(id)
    if (row === NONE) return NONE
    if (this.#records.endsAt(row) <= this.clock.now()) {
      this.#remove(row)
      return NONE
    }
    this.#records.use(row)
    return expectedVersion === undefined || this.#records.versionOf(row) === expectedVersion ? row : NONE
  }

  #recordOf(id: string): SessionData | null {
    const row = this.#find(id)
    return row === NONE ? null : this.#records.read(row)
  }

  #markOf(id: string): Mark | null {
    const entry = this.#marks.get(id)
    return entry !== undefined && this.clock.now() < entry.endsAt ? entry.mark : null
  }

  #put(id: string, record: SessionData, touchedAt: number, ttl: number, row = this.#records.find(id)): void {
    // First, as it fails where the data is an object that JSON cannot hold.
    const { json } = record
    this.#sweeper.startAtFirstUse()
    const now = this.clock.now()
    const endsAt = deadlineOf(ttl, now)
    if (endsAt <= now) {
      if (row !== NONE) this.#remove(row)
      return
    }
    if (row !== NONE) this.#takeOut(row)
    const written = row === NONE ? this.#records.add(id) : row
    this.#records.write(written, record, json, touchedAt, endsAt)
    this.#records.use(written)
    this.#totalBytes += this.#records.bytesOf(written)
    if (record.userId !== null) this.#addTo(record.userId, id)
    this.#makeRoom()
  }

  #remove(row: number): void {
    this.#takeOut(row)
    this.#records.delete(row)
  }

  /** Takes what a row holds out of all that is kept beside the rows. */
  #takeOut(row: number): void {
    this.#totalBytes -= this.#records.bytesOf(row)
    const userId = this.#records.userIdOf(row)
    if (userId === null) return
    const ids = this.#idsOfUsers.get(userId)!
    ids.delete(this.#records.idOf(row))
    if (ids.size === 0) this.#idsOfUsers.delete(userId)
  }

  #addTo(userId: string, id: string): void {
    const ids = this.#idsOfUsers.get(userId)
    if (ids === undefined) this.#idsOfUsers.set(userId, new Set([id]))
    else ids.add(id)
  }

  /** Lets the least recently used sessions go until both limits hold; never the last one, which was just written. */
  #makeRoom(): void {
    for (;;) {
      const { size, oldest } = this.#records
      if (size === 1 || (size <= this.#maxSessions && this.#totalBytes <= this.#maxTotalBytes)) return
      this.#sayFull(size > this.#maxSessions ? 'maxSessions' : 'maxTotalBytes')
      this.#remove(oldest)
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

  /** Goes through all sessions, and removes some {@link SLICE} in a slice. */
  *#sweepSlices(): Generator<number, number> {
    let now = this.clock.now()
    let removed = 0
    for (let row = 0; row < this.#records.rows; row++) {
      if (this.#records.endsAt(row) <= now) {
        this.#remove(row)
        removed++
      }
      if (removed < SLICE && (row + 1) % LOOK !== 0) continue
      yield removed
      removed = 0
      now = this.clock.now()
    }
    return removed
  }
}

/** How many sessions a cleanup removes, and how many it looks at, before it lets the event loop turn: each well below a millisecond's work. */
const SLICE = 250
const LOOK = 20_000

const OPTIONS = ['clock', 'defaultTtl', 'cleanupInterval', 'maxSessions', 'maxTotalBytes']
