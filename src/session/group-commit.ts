import type { Awaitable } from '../awaitable.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { parseJson } from '../stores/parse-json.ts'
import type { SessionData } from '../stores/session-data.ts'
import { stringifyData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import type { Draft } from './change-log.ts'
import { draftOf, isIdempotent, replay } from './change-log.ts'
import { CommitQueue } from './commit-queue.ts'
import type { Change } from './contents.ts'
import type { Records, Written } from './records.ts'
import { isUnreadable, markOf, MAX_LOST } from './records.ts'
import { checkSize } from './size.ts'

/** What became of a change. */
export type ChangeOutcome =
  /** It is in the store; `merged` when the record holds others' changes too. */
  | { readonly kind: 'saved'; readonly record: SessionData; readonly merged: boolean }
  | { readonly kind: 'gone'; readonly mark: Mark | null }

/**
 * Writes sessions' changes over the versions they were made on, or makes them again on the newer ones. Changes of one session that
 * wait side by side in this process go in one write; only other processes can conflict.
 */
export class GroupCommit {
  readonly #records: Records
  readonly #queue = new CommitQueue<Entry, SessionData>((id, batch, latest) => this.#carry(id, batch, latest))

  constructor(records: Records) {
    this.#records = records
  }

  /** Writes a change that was made on `base`. */
  write(base: SessionData, change: Change): Awaitable<ChangeOutcome> {
    const entry = new Entry(base, change, this.#records.until())
    this.#queue.add(base.id, entry)
    return entry.outcome()
  }

  /** Runs a step that ends the session, alone and in its turn. */
  alone<R>(id: string, step: () => Promise<R>): Promise<R> {
    return this.#queue.alone(id, step)
  }

  /** Writes a batch of changes in one record. Settles every entry; never rejects. */
  #carry(id: string, batch: readonly Entry[], latest: SessionData | null): Awaitable<SessionData | null> {
    // The first came first, so its deadline is the soonest.
    const { base, until } = batch[0]!
    const present = latest ?? base
    const work: Work = { id, until, entries: batch, present, composed: null, written: [], lost: [] }
    try {
      const reply = this.#write(work)
      return reply === true ? settleWritten(work) : this.#persist(work, reply)
    } catch (error) {
      // By a promise, so that those that come right behind it still go in one write.
      return Promise.resolve(settleFailed(work, error))
    }
  }

  /** Goes on from the reply to a first attempt until the changes are in, or cannot be. */
  async #persist(work: Work, first: Awaitable<boolean> | null): Promise<SessionData | null> {
    const records = this.#records
    const { id, until, written } = work
    let reply = first
    try {
      for (let tries = 0; work.entries.length > 0; tries++) {
        let isRefused = false
        try {
          if (reply !== null && (await reply)) return settleWritten(work)
          isRefused = reply !== null
        } catch (error) {
          // A reply that never came is not a failure: what stands there tells.
          work.lost.push(error)
          if (work.lost.length > MAX_LOST) throw error
        }
        let found = await records.find(id, until)
        if (isRefused && found.kind === 'live' && !written.includes(found.record.version))
          found = await records.backOff(found, tries, until)
        if (found.kind !== 'live') return settleGone(work.entries, markOf(found), work.lost[0])
        if (written.includes(found.record.version)) return settleSaved(work.entries, found.record, true)
        const isOvertaken = found.record.version !== work.present.version
        if (isOvertaken && reply !== null) publish({ kind: 'conflict', id })
        if (isOvertaken || reply === null) {
          work.present = found.record
          work.composed = null
        }
        reply = this.#write(work)
      }
      return null
    } catch (error) {
      return settleFailed(work, error)
    }
  }

  /**
   * Makes the changes on what stands in the store, as far as is known, and writes that there.
   * @returns the store's reply; null where that has run out: by what was read, as others may have been active since
   */
  #write(work: Work): Awaitable<boolean> | null {
    const records = this.#records
    const { present } = work
    const now = records.clock.now()
    if (records.expiryReason(present, now) !== null) return null
    work.composed ??= this.#compose(withoutUnknown(work.entries, present, work.lost[0]), present, now)
    const { record, entries } = work.composed
    work.entries = entries
    if (entries.length === 0) return false
    work.written.push(record.version)
    return records.calls.replace(work.id, record, present.version, records.ttl(record, now), work.until)
  }

  /** Puts the entries' changes on `present`. Those that cannot be made there fail by themselves, and are left out. */
  #compose(entries: readonly Entry[], present: SessionData, now: number): Composed {
    const [first] = entries
    // One change, on the version that it was made on: its own working copy is what to write.
    if (
      first !== undefined &&
      entries.length === 1 &&
      isWritten(first.change) &&
      first.base.version === present.version
    )
      return { record: this.#successor(present, first.change, now), entries, merged: false }

    let draft = draftOf(present)
    const carried = entries.filter((entry) => {
      const trial = copyOf(draft)
      try {
        replay(entry.change.operations, trial)
        checkSize(stringifyData(trial.data), this.#records.limits.maxSessionBytes)
      } catch (error) {
        entry.fail(error)
        return false
      }
      draft = trial
      return true
    })
    return { record: this.#successor(present, draft, now), entries: carried, merged: true }
  }

  /** The next version of a record. */
  #successor(
    { id, userId, device, createdAt, touchedAt }: SessionData,
    written: Draft | Written,
    now: number,
  ): SessionData {
    const times = { createdAt, updatedAt: now, touchedAt: Math.max(now, touchedAt) }
    return this.#records.compose(written, { id, userId, device, ...times })
  }
}

/** A change in line, and how it went. */
class Entry {
  readonly base: SessionData
  readonly change: Change
  readonly until: number
  #outcome: Awaitable<ChangeOutcome> | null = null
  #waiter: PromiseWithResolvers<ChangeOutcome> | null = null

  constructor(base: SessionData, change: Change, until: number) {
    this.base = base
    this.change = change
    this.until = until
  }

  /** How it went, as soon as that is known. */
  outcome(): Awaitable<ChangeOutcome> {
    return this.#outcome ?? (this.#waiter = Promise.withResolvers()).promise
  }

  settle(outcome: ChangeOutcome): void {
    if (this.#waiter === null) this.#outcome ??= outcome
    else this.#waiter.resolve(outcome)
  }

  fail(reason: unknown): void {
    if (this.#waiter === null) this.#outcome ??= Promise.reject(reason)
    else this.#waiter.reject(reason)
  }
}

interface Composed {
  readonly record: SessionData
  readonly entries: readonly Entry[]
  readonly merged: boolean
}

/** A batch on its way. */
interface Work {
  readonly id: string
  readonly until: number
  /** Those still to be carried. */
  entries: readonly Entry[]
  /** What stands in the store, as far as is known. */
  present: SessionData
  /** What is to be written over it; null when that is yet to be made. */
  composed: Composed | null
  /** Every version that an attempt may have left there. */
  readonly written: string[]
  /** Why replies to attempts never came. */
  readonly lost: unknown[]
}

/** What was composed is in the store. */
function settleWritten({ entries, composed }: Work): SessionData {
  return settleSaved(entries, composed!.record, composed!.merged)
}

function settleSaved(entries: readonly Entry[], record: SessionData, merged: boolean): SessionData {
  for (const entry of entries) entry.settle({ kind: 'saved', record, merged })
  return record
}

function settleFailed({ id, entries, lost }: Work, error: unknown): null {
  if (isUnreadable(error)) {
    publish({ kind: 'rejected', reason: 'unreadable', id })
    return settleGone(entries, null)
  }
  for (const entry of entries) {
    entry.change.unconfirmed ??= lost[0]
    entry.fail(error)
  }
  return null
}

/**
 * The session has ended, and the changes with it; but what a lost reply would have confirmed, a rotation may have carried on, or may
 * yet come about where the session ended by this server's clock alone. A mark that names no successor rules that out.
 * @param lost why the reply to an attempt of this batch never came; undefined where all did
 */
function settleGone(entries: readonly Entry[], mark: Mark | null, lost?: unknown): null {
  for (const entry of entries) {
    const { change } = entry
    const cause = lost ?? change.unconfirmed
    if (cause === undefined || mark?.successor === null) entry.settle({ kind: 'gone', mark })
    else {
      change.unconfirmed = cause
      entry.fail(outcomeUnknown(cause))
    }
  }
  return null
}

/**
 * After a lost reply and another write, nobody can tell whether that other write came on top of ours: what may be made twice goes on,
 * of the rest nothing is claimed.
 * @param lost why the reply to an attempt of this batch never came; undefined where all did
 */
function withoutUnknown(entries: readonly Entry[], present: SessionData, lost: unknown): readonly Entry[] {
  return entries.filter((entry) => {
    const { base, change } = entry
    const cause = lost ?? change.unconfirmed
    if (cause === undefined || base.version === present.version || isIdempotent(change.operations))
      return true
    change.unconfirmed = cause
    entry.fail(outcomeUnknown(cause))
    return false
  })
}

/** @param cause why the reply never came */
export function outcomeUnknown(cause: unknown): SessionError {
  return new SessionError(
    'ERR_SESSION_OUTCOME_UNKNOWN',
    'The store did not confirm an update, and another write came since: it may or may not have been made. Read the value before trying again.',
    { cause },
  )
}

function isWritten(change: Change): change is Change & Written {
  return change.json !== null
}

function copyOf({ data, flash, expiresAt }: Draft): Draft {
  return { data: parseJson(stringifyData(data)) as Draft['data'], flash: new Set(flash), expiresAt }
}
