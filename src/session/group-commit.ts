import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
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
  write(base: SessionData, change: Change): Promise<ChangeOutcome> {
    const until = this.#records.until()
    return new Promise((settle, fail) => this.#queue.add(base.id, { base, change, until, settle, fail }))
  }

  /** Runs a step that ends the session, alone and in its turn. */
  alone<R>(id: string, step: () => Promise<R>): Promise<R> {
    return this.#queue.alone(id, step)
  }

  /** Writes a batch of changes in one record. Settles every entry; never rejects. */
  async #carry(id: string, batch: readonly Entry[], latest: SessionData | null): Promise<SessionData | null> {
    const records = this.#records
    const until = Math.min(...batch.map((entry) => entry.until))
    const written = new Set<string>()
    let entries = batch
    let present = latest ?? batch[0]!.base
    let composed: Composed | null = null
    let lost: unknown[] = []
    try {
      for (let tries = 0; ; tries++) {
        if (records.expiryReason(present) !== null) {
          // By what was read; others may have been active since.
          const found = await records.find(id, until)
          if (found.kind !== 'live') return settleGone(entries, markOf(found), lost[0])
          present = found.record
          composed = null
        }
        composed ??= this.#compose(withoutUnknown(entries, present, lost[0]), present)
        const { record, merged } = composed
        entries = composed.entries
        if (entries.length === 0) return null
        written.add(record.version)
        let reply: boolean | null = null
        try {
          reply = await records.calls.replace(id, record, present.version, records.ttl(record), until)
        } catch (error) {
          // A reply that never came is not a failure: what stands there tells.
          lost = [...lost, error]
          if (lost.length > MAX_LOST) throw error
        }
        if (reply === true) return settleSaved(entries, record, merged)
        const found = await records.find(id, until)
        if (found.kind !== 'live') return settleGone(entries, markOf(found), lost[0])
        if (written.has(found.record.version)) return settleSaved(entries, found.record, true)
        if (found.record.version !== present.version) {
          publish({ kind: 'conflict', id })
          composed = null
          present = found.record
        }
        if (reply === false) await records.backOff(tries, until)
      }
    } catch (error) {
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
  }

  /** Puts the entries' changes on `present`. Those that cannot be made there fail by themselves, and are left out. */
  #compose(entries: readonly Entry[], present: SessionData): Composed {
    const [first] = entries
    // One change, on the version that it was made on: its own working copy is what to write.
    if (
      first !== undefined &&
      entries.length === 1 &&
      isWritten(first.change) &&
      first.base.version === present.version
    )
      return { record: this.#successor(present, first.change), entries, merged: false }

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
    return { record: this.#successor(present, draft), entries: carried, merged: true }
  }

  /** The next version of a record. */
  #successor(
    { id, userId, device, createdAt, touchedAt }: SessionData,
    written: Draft | Written,
  ): SessionData {
    const now = this.#records.clock.now()
    const times = { createdAt, updatedAt: now, touchedAt: Math.max(now, touchedAt) }
    return this.#records.compose(written, { id, userId, device, ...times })
  }
}

/** A change in line, and where to tell how it went. */
interface Entry {
  readonly base: SessionData
  readonly change: Change
  readonly until: number
  readonly settle: (outcome: ChangeOutcome) => void
  readonly fail: (error: unknown) => void
}

interface Composed {
  readonly record: SessionData
  readonly entries: readonly Entry[]
  readonly merged: boolean
}

function settleSaved(entries: readonly Entry[], record: SessionData, merged: boolean): SessionData {
  for (const entry of entries) entry.settle({ kind: 'saved', record, merged })
  return record
}

/**
 * The session has ended, and the changes with it; but what a lost reply would have confirmed, a rotation may have carried on, or may
 * yet come about where the session ended by this server's clock alone. A mark that names no successor rules that out.
 * @param lost why the reply to an attempt of this batch never came; undefined where all did
 */
function settleGone(entries: readonly Entry[], mark: Mark | null, lost?: unknown): null {
  for (const { change, settle, fail } of entries) {
    const cause = lost ?? change.unconfirmed
    if (cause === undefined || mark?.successor === null) settle({ kind: 'gone', mark })
    else {
      change.unconfirmed = cause
      fail(outcomeUnknown(cause))
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
  return entries.filter(({ base, change, fail }) => {
    const cause = lost ?? change.unconfirmed
    if (cause === undefined || base.version === present.version || isIdempotent(change.operations))
      return true
    change.unconfirmed = cause
    fail(outcomeUnknown(cause))
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
  return { data: JSON.parse(stringifyData(data)) as Draft['data'], flash: new Set(flash), expiresAt }
}
