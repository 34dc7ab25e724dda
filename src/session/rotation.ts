import { publish } from '../events.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import type { Operation } from './change-log.ts'
import { draftOf, isIdempotent, replay, sinceSignIn } from './change-log.ts'
import type { Change } from './contents.ts'
import { outcomeUnknown } from './group-commit.ts'
import type { Records } from './records.ts'
import { markOf, MAX_LOST } from './records.ts'
import type { Rotation } from './state.ts'

/** What became of a rotation. */
export type RotationOutcome =
  /** The session goes on as `record`; `fresh` when a sign-in left all of the old one behind. */
  | { readonly kind: 'rotated'; readonly record: SessionData; readonly fresh: boolean }
  | { readonly kind: 'gone'; readonly mark: Mark | null }

/**
 * Gives a session a new id. In this order, so that a crash anywhere leaves the old session or the new one, never neither: write the
 * new record, pending; end the old one at the version that was carried over, its mark naming the new; give the new one its
 * full time to live. Of two rotations at once one succeeds; the other finds the old one ended, and withdraws.
 *
 * @param base the record the change was made on
 * @param id the new id
 */
export async function rotate(
  records: Records,
  base: SessionData,
  id: string,
  change: Change | null,
  rotation: Rotation,
  until: number,
): Promise<RotationOutcome> {
  const operations = change?.operations ?? []
  const old = base.id
  const sameUser = rotation.kind === 'rotate' || rotation.userId === base.userId
  const mark: Mark = { kind: 'mark', reason: 'rotated', successor: id, sameUser }
  let record = composeUnder(records, id, base, operations, rotation)
  const pending = (PENDING_TIMEOUTS * records.limits.storeTimeout) / 1000
  await records.create(record, until, Math.min(pending, records.ttl(record)))

  let fresh = false
  let losses = 0
  for (let tries = 0; ; tries++) {
    try {
      if (await records.calls.end(old, mark, base.version, until)) break
    } catch (error) {
      // The reply was lost, perhaps not the request: repeat it, and never withdraw the new record for it.
      if (++losses > MAX_LOST) throw error
    }
    let found = await records.find(old, until)
    if (found.kind === 'live') found = await records.backOff(found, tries, until)
    if (found.kind === 'ended' && found.mark.successor === id) break
    if (found.kind === 'live') {
      if (found.record.version !== base.version) {
        publish({ kind: 'conflict', id: old })
        // An attempt to make it without a rotation may have been what wrote this.
        if (change?.unconfirmed !== undefined && !isIdempotent(operations))
          throw outcomeUnknown(change.unconfirmed)
        base = found.record
        record = await records.rewrite(
          record,
          composeUnder(records, id, base, operations, rotation),
          pending,
          until,
        )
      }
    } else if (rotation.kind === 'sign-in') {
      // A sign-in is never refused because its base has ended; but nothing of that base comes along.
      record = await records.rewrite(
        record,
        composeUnder(records, id, null, sinceSignIn(operations), rotation),
        pending,
        until,
      )
      fresh = true
      break
    } else {
      try {
        await records.calls.end(id, WITHDRAWN, undefined, until)
      } catch {
        // It runs out by itself.
      }
      return { kind: 'gone', mark: markOf(found) }
    }
  }
  records.following.ended(old)
  // False: somebody destroyed the session by its old id meanwhile, and followed the mark.
  if (!(await records.keep(record, until))) return { kind: 'gone', mark: null }
  publish({ kind: 'rotated', id: old, successor: id, signedIn: rotation.kind === 'sign-in' })
  return { kind: 'rotated', record, fresh }
}

/** A record under a new id: what `base` holds, unless it is another user's, with the operations made on it. */
export function composeUnder(
  records: Records,
  id: string,
  base: SessionData | null,
  operations: readonly Operation[],
  rotation: Rotation | null,
): SessionData {
  const now = records.clock.now()
  const userId = rotation?.kind === 'sign-in' ? rotation.userId : (base?.userId ?? null)
  const comesAlong = base !== null && (base.userId === null || base.userId === userId)
  const draft = draftOf(comesAlong ? base : null)
  // Who signs in has just proved who they are: both clocks start anew (NIST SP 800-63B-4, 5.2, reauthentication).
  const isBorn = base === null || rotation?.kind === 'sign-in'
  if (isBorn) draft.expiresAt = null
  replay(operations, draft)
  const createdAt = isBorn ? now : base.createdAt
  const updatedAt = isBorn || operations.length > 0 ? now : base.updatedAt
  return records.compose(draft, { id, userId, createdAt, updatedAt, touchedAt: now })
}

/** How many `storeTimeout`s a new record lives while the old one has not ended. */
const PENDING_TIMEOUTS = 5

const WITHDRAWN: Mark = { kind: 'mark', reason: 'withdrawn', successor: null, sameUser: false }
