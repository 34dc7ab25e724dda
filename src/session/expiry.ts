import { SessionError } from '../errors.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Glimpse } from '../stores/store.ts'

/** How long sessions live; all in seconds. */
export interface LifetimeOptions {
  /** Seconds without activity after which a session ends (OWASP ASVS 5.0, 7.3.1). Default: 3600. */
  idleTimeout?: number
  /** Seconds after its creation, or its last sign-in, at which a session ends whatever happens (7.3.2). Default: 86400. */
  absoluteTimeout?: number
  /** Seconds between two notes of activity on an otherwise unchanged session. Default: 60, or a tenth of `idleTimeout` if that is less. */
  touchEvery?: number
}

/** {@link LifetimeOptions} in milliseconds. */
export interface Lifetimes {
  readonly idle: number
  readonly absolute: number
  readonly touchEvery: number
}

/** @throws SessionError `ERR_SESSION_OPTION` for a timeout that is no positive number of seconds, or that another contradicts */
export function resolveLifetimes(options: LifetimeOptions): Lifetimes {
  const { idleTimeout = 3600, absoluteTimeout = 86_400 } = options
  const { touchEvery = Math.min(60, idleTimeout / 10) } = options
  for (const [name, seconds] of Object.entries({ idleTimeout, absoluteTimeout }))
    if (!isPositive(seconds)) throw wrong('timeout-positive', `${name} must be a positive number of seconds.`)
  if (!Number.isFinite(touchEvery) || touchEvery < 0)
    throw wrong('touch-every', 'touchEvery must be a number of seconds, 0 or more.')
  if (touchEvery > idleTimeout)
    throw wrong(
      'touch-every',
      'touchEvery must not exceed idleTimeout, or active visitors would be signed out.',
    )
  return { idle: idleTimeout * 1000, absolute: absoluteTimeout * 1000, touchEvery: touchEvery * 1000 }
}

/** Which clock a session has run out by. */
export type ExpiryReason = 'idle' | 'absolute' | 'deadline'

/** The instant a session ends unless something happens before, in epoch milliseconds. */
export function endOf(record: Glimpse, lifetimes: Lifetimes): number {
  return Math.min(record.createdAt + lifetimes.absolute, softEndOf(record, lifetimes))
}

/** Why a session is over; null while it lives. At the very instant of its end it is over. */
export function expiryReason(record: Glimpse, lifetimes: Lifetimes, now: number): ExpiryReason | null {
  if (now >= record.createdAt + lifetimes.absolute) return 'absolute'
  if (now < softEndOf(record, lifetimes)) return null
  return record.expiresAt === null ? 'idle' : 'deadline'
}

/** What is left for a record in its store, in seconds. */
export function storeTtl(record: SessionData, lifetimes: Lifetimes, now: number): number {
  return (endOf(record, lifetimes) - now) / 1000
}

/** Whether activity has gone unnoted for so long that a touch is due. A fixed deadline is not moved by activity. */
export function isTouchDue(record: SessionData, lifetimes: Lifetimes, now: number): boolean {
  // Also where it was noted by a clock that is ahead: it would go unnoted until time has caught up.
  return record.expiresAt === null && Math.abs(now - record.touchedAt) >= lifetimes.touchEvery
}

/**
 * The `touchedAt` of a rotation's new record while it is pending: it has seen no activity, and its first touch makes it a session. Until then
 * the store's time to live is all it has.
 */
export const PENDING = -1

/** Whether a record is one that a rotation may yet withdraw. */
export function isPending(record: Glimpse): boolean {
  return record.touchedAt === PENDING
}

/** The end that activity, or `setExpiry`, can move. Activity goes unnoted for up to `touchEvery`, which nobody shall lose. */
function softEndOf(record: Glimpse, lifetimes: Lifetimes): number {
  if (record.expiresAt !== null) return record.expiresAt
  return isPending(record) ? Infinity : record.touchedAt + lifetimes.idle + lifetimes.touchEvery
}

export function isPositive(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
}

const wrong = (rule: string, message: string): SessionError =>
  new SessionError('ERR_SESSION_OPTION', message, { rule })
