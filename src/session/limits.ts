import { SessionError } from '../errors.ts'
import { MARK_SECONDS } from '../stores/store.ts'
import { isPositive } from './expiry.ts'

/** How much a session may cost. */
export interface LimitOptions {
  /** Bytes of JSON a session may take; a commit over it is refused. Default: 65536. */
  maxSessionBytes?: number
  /** Seconds the store has for one request's read, and for its commit, before the request fails. At most 10. Default: 1. */
  storeTimeout?: number
}

/** {@link LimitOptions}, the time-out in milliseconds. */
export interface Limits {
  readonly maxSessionBytes: number
  readonly storeTimeout: number
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
  return { maxSessionBytes, storeTimeout: storeTimeout * 1000 }
}

const wrong = (rule: string, message: string): SessionError =>
  new SessionError('ERR_SESSION_OPTION', message, { rule })
