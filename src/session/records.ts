import { randomBytes } from 'node:crypto'

import type { Awaitable } from '../awaitable.ts'
import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { SessionData, stringifyData } from '../stores/session-data.ts'
import { hasNotices } from '../stores/notices.ts'
import type { Glimpse, Mark, SessionStore } from '../stores/store.ts'
import { isMark, withTouchedAt } from '../stores/store.ts'
import type { Draft } from './change-log.ts'
import type { ExpiryReason, Lifetimes } from './expiry.ts'
import { expiryReason, PENDING, storeTtl } from './expiry.ts'
import { Following } from './following.ts'
import type { Limits } from './limits.ts'
import { checkSize } from './size.ts'
import { StoreCalls } from './store-calls.ts'

/** What a look-up in the store came to. */
export type Found =
  | { readonly kind: 'live'; readonly record: SessionData }
  | { readonly kind: 'ended'; readonly mark: Mark }
  | { readonly kind: 'expired'; readonly reason: ExpiryReason }
  | { readonly kind: 'missing' | 'unreadable' }

export interface RecordsOptions extends Limits {
  readonly store: SessionStore
  readonly clock: Clock
  readonly lifetimes: Lifetimes
}

/**
 * One store's records as the protocol sees them: what has run out is not there, what is written gets a version of its own,
 * and a reply that never came is settled by reading again. `until` is a deadline, by {@link instantBy}.
 */
export class Records {
  readonly calls: StoreCalls
  readonly clock: Clock
  readonly lifetimes: Lifetimes
  readonly limits: Limits
  /** What stays open on sessions. Told of what this process does to them, whatever store that is in. */
  readonly following: Following
  #versionPrefix = ''
  #versions = 0

  constructor(options: RecordsOptions) {
    this.calls = new StoreCalls(options.store, options.clock)
    this.clock = options.clock
    this.lifetimes = options.lifetimes
    this.limits = options
    this.following = new Following(this, hasNotices(options.store) ? options.store : null)
  }

  /** The deadline of what begins now. */
  until(): number {
    return instantBy(this.clock) + this.limits.storeTimeout
  }

  /** Looks an id up, in one round trip. A record that cannot be read is told of, and counts as none. */
  find(id: string, until: number): Awaitable<Found> {
    const loaded = this.calls.load(id, until)
    if (!(loaded instanceof Promise)) return this.#judge(id, loaded)
    return loaded.then(
      (found) => this.#judge(id, found),
      (error: unknown) => {
        if (!isUnreadable(error)) throw error
        publish({ kind: 'rejected', reason: 'unreadable', id })
        return UNREADABLE
      },
    )
  }

  #judge(id: string, found: SessionData | Mark | null): Found {
    if (found === null) return MISSING
    if (isMark(found)) return { kind: 'ended', mark: found }
    const reason = this.expiryReason(found)
    if (reason !== null) return { kind: 'expired', reason }
    // The id that was looked up is the session's, whatever id a store's payload brings along.
    const record = found.id === id ? found : new SessionData({ ...found, id, data: found.json })
    return { kind: 'live', record }
  }

  /** What has become of a record since it was read: nothing, or, where it has run out by what was read, what the store says. */
  present(record: SessionData, until: number): Awaitable<Found> {
    return this.expiryReason(record) === null ? { kind: 'live', record } : this.find(record.id, until)
  }

  /** Why a record is over; null while it lives. */
  expiryReason(record: Glimpse, now: number = this.clock.now()): ExpiryReason | null {
    return expiryReason(record, this.lifetimes, now)
  }

  /** What is left for a record in its store, in seconds. */
  ttl(record: SessionData, now: number = this.clock.now()): number {
    return storeTtl(record, this.lifetimes, now)
  }

  /**
   * Makes a record of what was written, with a version of its own.
   * @throws SessionError `ERR_SESSION_TOO_LARGE`
   */
  compose(written: Draft | Written, about: About): SessionData {
    const isText = 'json' in written
    const json = isText ? written.json : stringifyData(written.data)
    checkSize(json, this.limits.maxSessionBytes)
    const { id, userId, device, createdAt, updatedAt, touchedAt } = about
    const { expiresAt } = written
    const flash = isText ? written.flash : [...written.flash]
    const version = this.#newVersion()
    return new SessionData({
      id,
      data: json,
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

  /**
   * Creates a record under a new id that no one else knows of, and notes whose it is.
   * @param ttl seconds. Default: all that is left for it
   */
  async create(record: SessionData, until: number, ttl: number = this.ttl(record)): Promise<SessionData> {
    if (!(await this.#settle(record, until, () => this.calls.create(record.id, record, ttl, until))))
      throw taken()
    // Not before: whoever found the hint and no record would take the hint away.
    for (let losses = 0; ; losses++) {
      try {
        await this.noteUser(record, until)
        return record
      } catch (error) {
        if (losses === MAX_LOST) throw error
      }
    }
  }

  /** Notes in the store's index, where it has one, whose session a record is, for as long as that can live at all. */
  async noteUser({ id, userId, createdAt }: SessionData, until: number): Promise<void> {
    const left = (createdAt + this.lifetimes.absolute - this.clock.now()) / 1000
    if (userId !== null) await this.calls.noteUser(userId, id, left, until)
  }

  /**
   * Creates a record that may yet be withdrawn: it lives for a few deadlines, until {@link keep} makes it a session.
   * @returns the record as it is while pending
   */
  createPending(record: SessionData, until: number): Promise<SessionData> {
    const pending = withTouchedAt(record, PENDING)
    return this.create(pending, until, this.#pendingTtl(pending))
  }

  /**
   * Writes `next` over a pending record; or anew, where that one's time, which was its base's, has run out.
   * @returns `next` as it is while pending; null when the record has been ended: all sessions of its user were revoked
   */
  async rewrite(record: SessionData, next: SessionData, until: number): Promise<SessionData | null> {
    const pending = withTouchedAt(next, PENDING)
    const ttl = this.#pendingTtl(pending)
    const replace = (): Awaitable<boolean> =>
      this.calls.replace(pending.id, pending, record.version, ttl, until)
    if (await this.#settle(pending, until, replace)) return pending
    if ((await this.find(pending.id, until)).kind === 'ended') return null
    return this.create(pending, until, ttl)
  }

  /** Takes a pending record back. */
  async withdraw(id: string, until: number): Promise<void> {
    try {
      await this.calls.end(id, WITHDRAWN, undefined, until)
    } catch {
      // It runs out by itself.
    }
  }

  /** Makes a pending record a session, with its full time to live. Null when it has been ended. */
  async keep(pending: SessionData, until: number): Promise<SessionData | null> {
    const record = withTouchedAt(pending, this.clock.now())
    for (let losses = 0; ; losses++) {
      try {
        return (await this.calls.touch(record.id, this.ttl(record), record.version, until)) ? record : null
      } catch (error) {
        if (losses === MAX_LOST) throw error
      }
    }
  }

  /**
   * Ends `id` and, along the marks of rotations under the same user, what it has become.
   * @param reason by its visitor, or from outside
   * @returns whether this call ended it; false when it was over already
   */
  async end(id: string, reason: 'destroyed' | 'revoked', until: number): Promise<boolean> {
    const mark: Mark = { kind: 'mark', reason, successor: null, sameUser: false }
    let losses = 0
    for (;;) {
      let isRefused = false
      try {
        if (await this.calls.end(id, mark, undefined, until)) break
        isRefused = true
      } catch (error) {
        if (++losses > MAX_LOST) throw error
      }
      const found = await this.calls.load(id, until)
      if (found === null) return losses > 0
      if (isMark(found)) {
        if (losses > 0 && found.reason === reason) break
        const successor = successorUnder(found)
        if (successor === null) return false
        id = successor
      } else if (isRefused)
        throw new SessionError(
          'ERR_SESSION_CONFLICT',
          'The store would not end the session. Does its end keep the contract?',
        )
    }
    publish({ kind: reason, id })
    this.following.ended(id)
    return true
  }

  /**
   * Waits a little, and randomly so, before going against other processes again, and reads what stands there by then: what was read
   * before the wait would lose again.
   * @throws SessionError `ERR_SESSION_CONFLICT` when the deadline has passed
   */
  async backOff(found: Found & { kind: 'live' }, tries: number, until: number): Promise<Found> {
    if (tries > 0) await this.clock.sleep(Math.random() * Math.min(2 ** tries, MAX_BACK_OFF))
    if (instantBy(this.clock) >= until)
      throw new SessionError(
        'ERR_SESSION_CONFLICT',
        'Other processes kept writing this session until storeTimeout had passed. Nothing was saved; try again.',
      )
    return tries > 0 ? this.find(found.record.id, until) : found
  }

  /** Seconds: some `storeTimeout`s, where not less is left. */
  #pendingTtl(pending: SessionData): number {
    return Math.min((5 * this.limits.storeTimeout) / 1000, this.ttl(pending))
  }

  /** Writes a record that no one else knows of. @returns false when the write was refused */
  async #settle(record: SessionData, until: number, write: () => Awaitable<boolean>): Promise<boolean> {
    for (let losses = 0; ; losses++) {
      let isRefused = false
      try {
        if (await write()) return true
        isRefused = true
      } catch (error) {
        if (losses === MAX_LOST) throw error
      }
      // A refusal may answer a command that the client sent again after reconnecting, and that was applied the first time.
      const found = await this.find(record.id, until)
      if (found.kind === 'live' && found.record.version === record.version) return true
      if (isRefused || found.kind === 'ended') return false
    }
  }

  /** A version that no other write has: of this process by the counter, of others by the prefix. */
  #newVersion(): string {
    // Not at construction: Workers allow no random bytes in global scope.
    if (this.#versionPrefix === '') this.#versionPrefix = randomBytes(9).toString('base64url')
    return `${this.#versionPrefix}.${(this.#versions++).toString(36)}`
  }
}

/** A new id was refused, which nobody else can know of. */
export function taken(): SessionError {
  return new SessionError(
    'ERR_SESSION_CONFLICT',
    'The store says that a new, random id is taken. Does its create keep the contract?',
  )
}

/** The parts of a record that no handler writes. */
export type About = Pick<SessionData, 'id' | 'userId' | 'device' | 'createdAt' | 'updatedAt' | 'touchedAt'>

/** What a session holds, its data already in JSON. */
export interface Written {
  readonly json: string
  readonly flash: readonly string[]
  readonly expiresAt: number | null
}

/** How many replies may be lost before a commit gives up. */
export const MAX_LOST = 2

/** The mark that was found; null where there is none. */
export function markOf(found: Found): Mark | null {
  return found.kind === 'ended' ? found.mark : null
}

/** Whether an error says that a stored record cannot be read. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'ERR_SESSION_RECORD'
}

/** The id that a session went on under, if under the same user. */
export function successorUnder(mark: Mark): string | null {
  return mark.sameUser ? mark.successor : null
}

/** Milliseconds. */
const MAX_BACK_OFF = 8

const MISSING: Found = { kind: 'missing' }
const UNREADABLE: Found = { kind: 'unreadable' }
const WITHDRAWN: Mark = { kind: 'mark', reason: 'withdrawn', successor: null, sameUser: false }
