import { expect, test } from 'vitest'

import type { LimitOptions } from './limits.ts'
import { resolveLimits } from './limits.ts'

test('by default a session takes 64 KiB, and the store has a second', () => {
  expect(resolveLimits({})).toEqual({ maxSessionBytes: 65_536, storeTimeout: 1000, perUser: null })
})

test('a number of sessions per user ends the oldest', () => {
  expect(resolveLimits({ maxSessionsPerUser: 1 }).perUser).toEqual({ max: 1, whenTooMany: 'end-oldest' })
  const refuse = { max: 3, whenTooMany: 'refuse' } as const
  expect(resolveLimits({ maxSessionsPerUser: refuse }).perUser).toEqual(refuse)
})

test.each<[LimitOptions, string]>([
  [{ maxSessionBytes: 0 }, 'max-session-bytes'],
  [{ maxSessionBytes: Infinity }, 'max-session-bytes'],
  [{ maxSessionBytes: '64k' as unknown as number }, 'max-session-bytes'],
  [{ storeTimeout: 0 }, 'store-timeout'],
  [{ storeTimeout: Number.NaN }, 'store-timeout'],
  // A mark must outlive the retries that look for it.
  [{ storeTimeout: 10.1 }, 'store-timeout'],
  [{ maxSessionsPerUser: 0 }, 'max-sessions-per-user'],
  [{ maxSessionsPerUser: 2.5 }, 'max-sessions-per-user'],
  [{ maxSessionsPerUser: Infinity }, 'max-sessions-per-user'],
  [{ maxSessionsPerUser: null as unknown as number }, 'max-sessions-per-user'],
  [{ maxSessionsPerUser: { max: 2, whenTooMany: 'deny' as 'refuse' } }, 'max-sessions-per-user'],
])('refused: %o', (options, rule) => {
  expect(() => resolveLimits(options)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }))
})
