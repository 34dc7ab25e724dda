import { describe, expect, test } from 'vitest'

import type { SessionDataInit } from '../stores/session-data.ts'
import { SessionData } from '../stores/session-data.ts'
import type { LifetimeOptions } from './expiry.ts'
import { endOf, expiryReason, isTouchDue, resolveLifetimes, storeTtl } from './expiry.ts'

/** An hour idle, noted by the minute; a day in all. */
const LIFETIMES = resolveLifetimes({})
const HOUR = 3_600_000
const DAY = 86_400_000
const GRACE = 60_000

const born = (init: SessionDataInit = {}): SessionData => new SessionData({ createdAt: 0, ...init })

describe('a session is over', () => {
  test.each<[string, SessionData, number, 'idle' | 'absolute' | 'deadline']>([
    ['when nothing was heard of it for the idle time-out', born(), HOUR + GRACE, 'idle'],
    [
      'when nothing was heard of it since its last touch',
      born({ touchedAt: 5 * HOUR }),
      6 * HOUR + GRACE,
      'idle',
    ],
    [
      'when the absolute time-out has passed, however active it was',
      born({ touchedAt: DAY - 1 }),
      DAY,
      'absolute',
    ],
    [
      'when its own deadline comes, however active it was',
      born({ touchedAt: 4999, expiresAt: 5000 }),
      5000,
      'deadline',
    ],
    [
      'when its own deadline comes, later than idle would',
      born({ expiresAt: 9 * HOUR }),
      9 * HOUR,
      'deadline',
    ],
    [
      'never later than the absolute time-out, whatever its own deadline',
      born({ expiresAt: 2 * DAY }),
      DAY,
      'absolute',
    ],
  ])('%s: at that instant, and not a millisecond before', (_, record, end, reason) => {
    expect(endOf(record, LIFETIMES)).toBe(end)
    expect(expiryReason(record, LIFETIMES, end - 1)).toBe(null)
    expect(expiryReason(record, LIFETIMES, end)).toBe(reason)
    expect(expiryReason(record, LIFETIMES, end + 1)).toBe(reason)
    expect(storeTtl(record, LIFETIMES, end - 1)).toBe(0.001)
    expect(storeTtl(record, LIFETIMES, end)).toBe(0)
  })

  test('by the limits of today, also where it was made under longer ones', () => {
    const strict = resolveLifetimes({ idleTimeout: 60, absoluteTimeout: 600 })
    expect(expiryReason(born({ touchedAt: 500_000 }), strict, 566_000)).toBe('idle')
    expect(expiryReason(born({ touchedAt: 599_000 }), strict, 600_000)).toBe('absolute')
  })
})

describe('a touch is due', () => {
  test('once activity has gone unnoted for touchEvery', () => {
    expect(isTouchDue(born({ touchedAt: 1000 }), LIFETIMES, 60_999)).toBe(false)
    expect(isTouchDue(born({ touchedAt: 1000 }), LIFETIMES, 61_000)).toBe(true)
  })

  test('also when it was last noted by a clock that is ahead', () => {
    expect(isTouchDue(born({ touchedAt: 60_999 }), LIFETIMES, 1000)).toBe(false)
    expect(isTouchDue(born({ touchedAt: 960_000 }), LIFETIMES, 0)).toBe(true)
  })

  test('never for a session with a deadline of its own', () => {
    expect(isTouchDue(born({ expiresAt: HOUR }), LIFETIMES, HOUR - 1)).toBe(false)
  })
})

describe('lifetimes', () => {
  test('by default are an hour and a day, noted by the minute', () => {
    expect(resolveLifetimes({})).toEqual({ idle: HOUR, absolute: DAY, touchEvery: GRACE })
  })

  test('short ones are noted ten times as often as they run out', () => {
    expect(resolveLifetimes({ idleTimeout: 30 }).touchEvery).toBe(3000)
    expect(resolveLifetimes({ idleTimeout: 36_000 }).touchEvery).toBe(60_000)
  })

  test('touchEvery may be none at all, and as long as idleTimeout', () => {
    expect(resolveLifetimes({ touchEvery: 0 }).touchEvery).toBe(0)
    expect(resolveLifetimes({ idleTimeout: 5, touchEvery: 5 }).touchEvery).toBe(5000)
  })

  test.each<[LifetimeOptions, string]>([
    [{ idleTimeout: 0 }, 'timeout-positive'],
    [{ idleTimeout: -1 }, 'timeout-positive'],
    [{ idleTimeout: Number.NaN }, 'timeout-positive'],
    [{ idleTimeout: Infinity }, 'timeout-positive'],
    [{ absoluteTimeout: 0 }, 'timeout-positive'],
    [{ absoluteTimeout: '1h' as unknown as number }, 'timeout-positive'],
    [{ touchEvery: -1 }, 'touch-every'],
    [{ touchEvery: Number.NaN }, 'touch-every'],
    [{ touchEvery: '5' as unknown as number }, 'touch-every'],
    [{ idleTimeout: 5, touchEvery: 5.1 }, 'touch-every'],
  ])('refused: %o', (options, rule) => {
    expect(() => resolveLifetimes(options)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }),
    )
  })
})
