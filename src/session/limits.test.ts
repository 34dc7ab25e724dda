import { expect, test } from 'vitest'

import type { LimitOptions } from './limits.ts'
import { resolveLimits } from './limits.ts'

test('by default a session takes 64 KiB, and the store has a second', () => {
  expect(resolveLimits({})).toEqual({ maxSessionBytes: 65_536, storeTimeout: 1000 })
})

test.each<[LimitOptions, string]>([
  [{ maxSessionBytes: 0 }, 'max-session-bytes'],
  [{ maxSessionBytes: Infinity }, 'max-session-bytes'],
  [{ maxSessionBytes: '64k' as unknown as number }, 'max-session-bytes'],
  [{ storeTimeout: 0 }, 'store-timeout'],
  [{ storeTimeout: Number.NaN }, 'store-timeout'],
  // A mark must outlive the retries that look for it.
  [{ storeTimeout: 10.1 }, 'store-timeout'],
])('refused: %o', (options, rule) => {
  expect(() => resolveLimits(options)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule }))
})
