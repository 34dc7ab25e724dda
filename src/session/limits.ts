import { SessionError } from '../errors.ts'
import { MARK_SECONDS } from '../stores/store.ts'
import { isPositive } from './expiry.ts'

/** How much a session may cost, and how many a user may have. */
export interface LimitOptions {
  /** Bytes of JSON a session may take; a commit over it is refused. Default: 65536. */
  maxSessionBytes?: number
  /** Seconds the store has for one request's read, and for its commit, before the request fails. At most 10. Default: 1. */
  storeTimeout?: number
  /**
   * How many sessions a user may have at once (OWASP ASVS 5.0, 7.1.2). A number ends the oldest to make room for one more; with
   * `whenTooMany: 'refuse'` a sign-in beyond it fails with `ERR_SESSION_LIMIT_REACHED` instead: meet that with `await session.save()` after
   * `signIn`. Needs a store that can find the sessions of a user. Default: any number.
   */
  maxSessionsPerUser?: number | SessionsPerUser
}

/** A limit to the sessions of a user. */
export interface SessionsPerUser {
  readonly max: number
  /** Which session has to give way: the one signed in first, or the one about to be. */
  readonly whenTooMany: 'end-oldest' | 'refuse'
}

/** {@link LimitOptions}, the time-out in milliseconds. */
export interface Limits {
  readonly maxSessionBytes: number
  readonly storeTimeout: number
  readonly perUser: SessionsPerUser | null
}

/** @throws SessionError `ERR_SESSION_OPTION` for a limit that cannot be kept */
export function resolveLimits(options: LimitOptions): Limits {
  const { maxSessionBytes = 65_536, storeTimeout = 1 } = options
  if (!isPositive(maxSessionBytes))
    throw wrong('max-session-bytes', 'maxSessionBytes must be a positive number of bytes.')
  // A commit settles a lost reply by the mark it may have left, which must still be there then.
  if (!isPositive(storeTimeout) || storeTimeout > MARK_SECONDS / 3)
    throw wrong(
      'store-timeout',
      `storeTimeout must be a positive number of seconds, at most ${MARK_SECONDS / 3}.`,
    )
  return { maxSessionBytes, storeTimeout: storeTimeout * 1000, perUser: resolvePerUser(options) }
}

function resolvePerUser({ maxSessionsPerUser }: LimitOptions): SessionsPerUser | null {
  if (maxSessionsPerUser === undefined) return null
  const limit =
    typeof maxSessionsPerUser === 'number'
      ? ({ max: maxSessionsPerUser, whenTooMany: 'end-oldest' } as const)
      : maxSessionsPerUser
  if (!Number.isSafeInteger(limit?.max) || limit.max < 1 || !WHEN_TOO_MANY.includes(limit.whenTooMany))
    throw wrong(
      'max-sessions-per-user',
      "maxSessionsPerUser must be a whole number from 1, or { max, whenTooMany: 'end-oldest' or 'refuse' }.",
    )
  return { max: limit.max, whenTooMany: limit.whenTooMany }
}

const WHEN_TOO_MANY: readonly unknown[] = ['end-oldest', 'refuse']

const wrong = (rule: string, message: string): SessionError =>
  new SessionError('ERR_SESSION_OPTION', message, { rule })
