import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

import { arrive, serve } from '../test/support/core.ts'
import { published } from '../test/support/published.ts'
import type { Clock } from './clock.ts'
import { systemClock } from './clock.ts'
import { SessionError } from './errors.ts'
import type { SessionsOptions } from './options.ts'
import { createSessions } from './sessions.ts'
import { MemorySessionStore } from './stores/memory.ts'
import { ManualClock } from './testing/clock.ts'

const SECRET = 's'.repeat(32)

/** What is wrong with the options, if anything. */
function ruleBroken(options: unknown): string | null {
  try {
    createSessions(options as SessionsOptions)
    return null
  } catch (error) {
    expect(error).toBeInstanceOf(SessionError)
    expect(error).toMatchObject({ code: 'ERR_SESSION_OPTION', status: 500 })
    return (error as SessionError).rule ?? 'none named'
  }
}

describe('options that are wrong throw at construction, with the rule that they break', () => {
  test.each<[unknown, string]>([
    [null, 'options'],
    ['secret', 'options'],
    [{ secret: SECRET }, 'unknown-option'],
    [{ ttl: 60 }, 'unknown-option'],
    [{ store: new Map() }, 'store'],
    [{ store: { get() {}, set() {}, delete() {}, exists() {} } }, 'store'],
    [{ store: 'redis://' }, 'store'],
    [{ clock: null }, 'clock'],
    [{ clock: { now: () => 0 } }, 'clock'],
    [{ clock: Date }, 'clock'],
    [{ trustProxy: 'yes' }, 'trust-proxy'],
    [{ secrets: undefined }, 'secret-missing'],
    [{ secrets: null }, 'secret-type'],
    [{ secrets: '' }, 'secret-length'],
    [{ secrets: [] }, 'secret-missing'],
    [{ secrets: [SECRET, 'short'] }, 'secret-length'],
    [{ secrets: [SECRET, SECRET] }, 'secret-duplicate'],
    [{ cookie: { name: '' } }, 'cookie-name'],
    [{ cookie: { name: '__Host-s', path: '/app' } }, 'cookie-prefix-host'],
    [{ cookie: { sameSite: 'none', secure: false } }, 'cookie-samesite-none-secure'],
    [{ cookie: { expires: 60 } }, 'cookie-unknown-option'],
    [{ idleTimeout: 0 }, 'timeout-positive'],
    [{ absoluteTimeout: Infinity }, 'timeout-positive'],
    [{ idleTimeout: 5, touchEvery: 6 }, 'touch-every'],
    [{ maxSessionBytes: -1 }, 'max-session-bytes'],
    [{ storeTimeout: 11 }, 'store-timeout'],
    [{ onOutage: 'ignore' }, 'on-outage'],
  ])('%o', (options, rule) => {
    expect(ruleBroken(options)).toBe(rule)
  })

  test('and a misspelt one is told the names there are', () => {
    expect(() => createSessions({ secret: SECRET } as never)).toThrow(/secret is not an option.*secrets/)
  })
})

test.each<[SessionsOptions | undefined]>([
  [undefined],
  [{}],
  [{ secrets: SECRET }],
  [{ secrets: [new Uint8Array(32), SECRET] }],
  [{ store: null as never, cookie: null as never }],
  [{ idleTimeout: 0.5, absoluteTimeout: 0.5, touchEvery: 0, storeTimeout: 10, maxSessionBytes: 1 }],
])('%o are right', (options) => {
  expect(ruleBroken(options)).toBe(null)
})

test('no option is needed: sessions are kept in memory, under a safe cookie', async () => {
  const sessions = createSessions<Record<string, any>>()
  const cookie = await arrive(sessions, { a: 1 })
  expect(cookie).toMatch(/^__Host-session=[\w-]{43}$/)
  expect((await sessions.open(cookie)).get('a')).toBe(1)
  await sessions.close()
})

test('only null and undefined mean no store: an empty one counts, and is the one that is used', async () => {
  const { memory, sessions } = serve()
  expect(memory.size).toBe(0)
  await arrive(sessions)
  expect(memory.size).toBe(1)
  const falsy = Object.assign(new MemorySessionStore(), { valueOf: () => 0, length: 0 })
  await arrive(createSessions<Record<string, any>>({ store: falsy }))
  expect(falsy.size).toBe(1)
})

describe('the time', () => {
  test("is the store's, unless another clock is given", async () => {
    const clock = new ManualClock(Date.UTC(2040, 0, 1))
    const store = new MemorySessionStore({ clock })
    expect((await createSessions({ store }).open(null)).createdAt).toEqual(new Date(clock.now()))
    const other = new ManualClock(Date.UTC(2041, 0, 1))
    expect((await createSessions({ store, clock: other }).open(null)).createdAt).toEqual(
      new Date(other.now()),
    )
  })

  test('is waited for where the clock does not know it yet, before a session is dated', async () => {
    let isKnown = false
    const clock: Clock = {
      ...systemClock,
      now: () => (isKnown ? 2000 : 1_000_000_000),
      ready: () => (isKnown ? null : Promise.resolve().then(() => void (isKnown = true))),
    }
    const sessions = createSessions<Record<string, any>>({ store: new MemorySessionStore({ clock }) })
    const session = await sessions.open(await arrive(sessions))
    expect(session.createdAt).toEqual(new Date(2000))
  })
})

describe('in production', () => {
  beforeEach(() => void vi.stubEnv('NODE_ENV', 'production'))
  afterEach(() => {
    vi.unstubAllEnvs()
    vi.restoreAllMocks()
  })

  test('sessions that nobody gave a store are warned of, once', () => {
    const events = published('holdfast:event')
    const warn = vi.spyOn(console, 'warn').mockReturnValue()
    createSessions()
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/^holdfast: .*MemorySessionStore/)]])
    expect(events).toEqual([
      { kind: 'unfit-store', reason: 'in-memory', remedy: expect.any(String) as string },
    ])
  })

  test('sessions in memory that are meant to be there are not', () => {
    const warn = vi.spyOn(console, 'warn')
    createSessions({ store: new MemorySessionStore() })
    expect(() => createSessions({ storeTimeout: 11 })).toThrow(SessionError)
    expect(warn).not.toHaveBeenCalled()
  })
})

describe('in development', () => {
  afterEach(() => vi.unstubAllEnvs())

  test('the cookie does without https, as is fixed at construction', () => {
    vi.stubEnv('NODE_ENV', 'development')
    const sessions = createSessions()
    vi.stubEnv('NODE_ENV', 'production')
    expect(sessions.cookie).toMatchObject({ name: 'session', secure: false })
    const { cookie } = createSessions({ store: new MemorySessionStore() })
    expect(cookie).toMatchObject({ name: '__Host-session', secure: true })
  })
})
