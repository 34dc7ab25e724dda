import { setImmediate as nextTurn } from 'node:timers/promises'

import type { EndReason } from '../errors.ts'
import { publish } from '../events.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Notices } from '../stores/notices.ts'
import type { Glimpse, Mark } from '../stores/store.ts'
import { isMark } from '../stores/store.ts'
import { endOf } from './expiry.ts'
import type { FollowerHost } from './follower.ts'
import { Follower } from './follower.ts'
import type { Found, Records } from './records.ts'

/**
 * All sessions of a manager that something stays open on: a socket, a stream, a signal. Whatever happens to one of them, by whichever
 * process, its followers are told of: at once, where this process did it or the store tells notices; and within half a minute in any case,
 * as all of them are looked at that often, in batches. So is one whose time may have run out.
 *
 * Nothing runs while nothing is followed, and no timer keeps the process alive.
 */
export class Following implements FollowerHost {
  readonly #records: Records
  readonly #notices: Notices | null
  readonly #sessions = new Map<string, Followed>()
  /** Whom to look at next. */
  readonly #due = new Set<Followed>()
  /** Before then nobody's time has run out, in epoch milliseconds. */
  #endsNext = Infinity
  #isWatching = false
  #isClosed = false
  #pausing: AbortController | null = null

  /** @param notices the store, where it tells them */
  constructor(records: Records, notices: Notices | null) {
    this.#records = records
    this.#notices = notices
  }

  /** How many sessions are followed. */
  get size(): number {
    return this.#sessions.size
  }

  /**
   * Follows a session until it ends, or the follower is stopped.
   * @param record as it was read
   * @param end is told why it ended
   */
  follow(record: SessionData, end: (reason: EndReason) => void): Follower {
    const follower = new Follower(record.id, end, this)
    if (this.#isClosed) return follower
    let followed = this.#sessions.get(record.id)
    if (followed === undefined) {
      followed = new Followed(record)
      this.#sessions.set(record.id, followed)
      this.#expect(followed, record)
      void this.#watch(followed)
    }
    followed.followers.add(follower)
    if (!this.#isWatching) void this.#watchOver()
    return follower
  }

  /** Notes that this process has written a session. */
  wrote(record: SessionData): void {
    const followed = this.#sessions.get(record.id)
    if (followed === undefined) return
    this.#expect(followed, record)
    this.#note(followed, record.version)
  }

  /** Notes that this process has ended a session. */
  ended(id: string): void {
    const followed = this.#sessions.get(id)
    if (followed !== undefined) this.#look(followed)
  }

  /** Follows nothing any more; followers are told nothing. */
  close(): void {
    this.#isClosed = true
    for (const followed of this.#sessions.values()) this.#drop(followed)
    this.#pausing?.abort()
  }

  /** @internal */
  listens(follower: Follower): void {
    const followed = this.#sessions.get(follower.id)
    if (followed !== undefined) this.#note(followed, followed.version)
  }

  /** @internal */
  leaves(follower: Follower): void {
    const followed = this.#sessions.get(follower.id)
    if (followed?.followers.delete(follower) !== true || followed.followers.size > 0) return
    this.#drop(followed)
    if (this.#sessions.size === 0) this.#pausing?.abort()
  }

  #drop(followed: Followed): void {
    this.#sessions.delete(followed.id)
    this.#due.delete(followed)
    followed.isOver = true
    followed.unwatch?.()
    followed.unwatch = null
  }

  /** Has the store tell notices of a session. One that cannot is asked again with the next round. */
  async #watch(followed: Followed): Promise<void> {
    if (this.#notices === null || followed.isSubscribing || followed.unwatch !== null) return
    followed.isSubscribing = true
    try {
      const unwatch = await this.#notices.watch(followed.id, (version) => this.#note(followed, version))
      if (followed.isOver) return unwatch()
      followed.unwatch = unwatch
      // What happened since it was read, nobody has told.
      this.#look(followed)
    } catch (error) {
      if (!followed.isOver) publish({ kind: 'store-failure', operation: 'watch', error })
    } finally {
      followed.isSubscribing = false
    }
  }

  #note(followed: Followed, version: string | null): void {
    if (followed.isOver) return
    if (version === null) this.#look(followed)
    else if (followed.wantsChanges) void this.#refresh(followed, version)
    else if (version !== followed.version) this.#look(followed)
  }

  #look(followed: Followed): void {
    if (followed.isOver) return
    this.#due.add(followed)
    this.#pausing?.abort()
  }

  /** Keeps in mind by when a session will have run out. */
  #expect(followed: Followed, glimpse: Glimpse): void {
    followed.endsAt = endOf(glimpse, this.#records.lifetimes)
    if (followed.endsAt >= this.#endsNext) return
    this.#endsNext = followed.endsAt
    this.#pausing?.abort()
  }

  async #watchOver(): Promise<void> {
    const { clock } = this.#records
    this.#isWatching = true
    let roundAt = clock.now() + betweenRounds()
    while (this.#sessions.size > 0) {
      if (this.#due.size === 0) await this.#pause(Math.min(roundAt, this.#endsNext) - clock.now())
      const now = clock.now()
      if (now >= roundAt) {
        roundAt = now + betweenRounds()
        for (const followed of this.#sessions.values()) {
          this.#due.add(followed)
          void this.#watch(followed)
        }
      } else if (now >= this.#endsNext) this.#findExpired(now)
      await this.#lookAtDue()
    }
    this.#isWatching = false
  }

  #findExpired(now: number): void {
    let next = Infinity
    for (const followed of this.#sessions.values())
      if (now >= followed.endsAt) this.#due.add(followed)
      else next = Math.min(next, followed.endsAt)
    // Those that end close upon each other are found together.
    this.#endsNext = Math.max(next, now + EXPIRY_STEP)
  }

  async #lookAtDue(): Promise<void> {
    while (this.#due.size > 0) {
      const batch: Followed[] = []
      for (const followed of this.#due) {
        if (batch.length === BATCH) break
        batch.push(followed)
        this.#due.delete(followed)
      }
      try {
        const ids = batch.map(({ id }) => id)
        const found = await this.#records.calls.peek(ids, this.#records.until())
        batch.forEach((followed, i) => this.#judge(followed, found[i]!))
      } catch {
        // The failure has been told of; an outage ends no session.
        for (const followed of batch) if (!followed.isOver) this.#due.add(followed)
        await this.#pause(RETRY)
      }
      // A batch takes a moment, and ten thousand sockets take many batches.
      await nextTurn()
    }
  }

  #judge(followed: Followed, found: Glimpse | Mark | null): void {
    if (followed.isOver) return
    if (found === null) return this.#end(followed, this.#hasRunOut(followed) ? 'expired' : 'gone')
    if (isMark(found)) return this.#end(followed, reasonOf(found))
    const reason = this.#records.expiryReason(found)
    if (reason !== null) {
      publish({ kind: 'expired', id: followed.id, reason })
      return this.#end(followed, 'expired')
    }
    this.#expect(followed, found)
    if (followed.wantsChanges) void this.#refresh(followed, found.version)
    else followed.version = found.version
  }

  #hasRunOut({ endsAt }: Followed): boolean {
    return this.#records.clock.now() >= endsAt
  }

  /** Reads a session whole, where that is news, and tells what has changed. */
  async #refresh(followed: Followed, version: string): Promise<void> {
    const { noted } = followed
    noted.add(version)
    if (followed.isRefreshing) return
    followed.isRefreshing = true
    while (noted.size > 0 && !followed.isOver) {
      // Of several writes close upon each other one reading is enough, and a follower's own may be told of before its commit is over.
      await nextTurn()
      await Promise.all(Array.from(followed.followers, (follower) => follower.settled()))
      const isNews = [...noted].some((version) => !followed.knows(version))
      noted.clear()
      if (!isNews) break
      const knew = [...followed.followers].map((follower) => [follower, follower.known] as const)
      let found: Found
      try {
        found = await this.#records.find(followed.id, this.#records.until())
      } catch {
        // The failure has been told of.
        await this.#records.clock.sleep(RETRY)
        noted.add(version)
        continue
      }
      if (found.kind !== 'live') {
        this.#look(followed)
        break
      }
      followed.version = found.record.version
      for (const [follower, known] of knew)
        if (!(await follower.tell(found.record, known))) noted.add(followed.version)
    }
    followed.isRefreshing = false
  }

  #end(followed: Followed, reason: EndReason): void {
    this.#drop(followed)
    for (const { end } of followed.followers) end(reason)
  }

  /** Waits, but not past the next {@link #look}. */
  async #pause(ms: number): Promise<void> {
    const pausing = new AbortController()
    this.#pausing = pausing
    await this.#records.clock.sleep(Math.max(ms, 1), pausing.signal).catch(ignore)
    if (this.#pausing === pausing) this.#pausing = null
  }
}

/** One session that is followed. */
class Followed {
  readonly id: string
  readonly followers = new Set<Follower>()
  /** As last seen. */
  version: string
  /** When it will have run out, unless it is active before. */
  endsAt = Infinity
  unwatch: (() => void) | null = null
  isSubscribing = false
  isRefreshing = false
  /** Versions that were written, as far as is known, and that have not been read since. */
  readonly noted = new Set<string>()
  isOver = false

  constructor({ id, version }: SessionData) {
    this.id = id
    this.version = version
  }

  /** Whether a write of this version is no news to any of its followers. */
  knows(version: string): boolean {
    for (const follower of this.followers) if (!follower.knows(version)) return false
    return true
  }

  get wantsChanges(): boolean {
    for (const { wantsChanges } of this.followers) if (wantsChanges) return true
    return false
  }
}

/** Why a session with this mark has ended. */
export function reasonOf(mark: Mark | null): EndReason {
  return mark === null || mark.reason === 'withdrawn' ? 'gone' : mark.reason
}

/** Milliseconds between two looks at all: half a minute at most, and not in all processes at once. */
function betweenRounds(): number {
  return 20_000 + Math.random() * 10_000
}

/** How many sessions one look takes in: a millisecond's work or so. */
const BATCH = 500
/** Milliseconds after which a store that failed is asked again. */
const RETRY = 1000
/** Milliseconds between two looks for those whose time has run out. */
const EXPIRY_STEP = 1000

const ignore = (): void => {}
