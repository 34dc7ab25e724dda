import { publish } from '../events.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import type { Operation } from './change-log.ts'
import { draftOf, isIdempotent, replay, sinceSignIn } from './change-log.ts'
import type { Change } from './contents.ts'
import { outcomeUnknown } from './group-commit.ts'
import type { Records } from './records.ts'
import { markOf, MAX_LOST, taken } from './records.ts'
import type { Rotation } from './state.ts'
import type { UserLimit } from './user-limit.ts'

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
 * @param limit may refuse a sign-in
 */
export async function rotate(
  records: Records,
  base: SessionData,
  id: string,
  change: Change | null,
  rotation: Rotation,
  limit: UserLimit | null,
  until: number,
): Promise<RotationOutcome> {
  const operations = change?.operations ?? []
  const old = base.id
  const sameUser = rotation.kind === 'rotate' || rotation.userId === base.userId
  const mark: Mark = { kind: 'mark', reason: 'rotated', successor: id, sameUser }
  const rewrite = (from: SessionData | null, on: readonly Operation[]): Promise<SessionData | null> => {
    return records.rewrite(record, composeUnder(records, id, from, on, rotation), until)
  }
  let record = await records.createPending(composeUnder(records, id, base, operations, rotation), until)
  if (rotation.kind === 'sign-in') await limit?.admit(record, base, until)

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
        const rewritten = await rewrite(base, operations)
        if (rewritten === null) {
          const present = await records.find(old, until)
          if (present.kind === 'live') throw taken()
          return { kind: 'gone', mark: markOf(present) }
        }
        record = rewritten
      }
    } else if (rotation.kind === 'sign-in') {
      // A sign-in is never refused because its base has ended; but nothing of that base comes along.
      const rewritten = await rewrite(null, sinceSignIn(operations))
      if (rewritten === null) return GONE
      record = rewritten
      // It takes the place of none any more; and the old one may go on, under yet another id.
      await limit?.admit(record, null, until)
      fresh = true
      break
    } else {
      await records.withdraw(id, until)
      return { kind: 'gone', mark: markOf(found) }
    }
  }
  records.following.ended(old)
  const kept = await records.keep(record, until)
  // Somebody destroyed the session by its old id meanwhile, and followed the mark; or revoked all of its user's.
  if (kept === null) return GONE
  publish({ kind: 'rotated', id: old, successor: id, signedIn: rotation.kind === 'sign-in' })
  return { kind: 'rotated', record: kept, fresh }
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
  const device = rotation?.kind === 'sign-in' ? rotation.device : (base?.device ?? null)
  return records.compose(draft, { id, userId, device, createdAt, updatedAt, touchedAt: now })
}

const GONE: RotationOutcome = { kind: 'gone', mark: null }
