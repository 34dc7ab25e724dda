import { inspect } from 'node:util'

import { expect, test, vi } from 'vitest'

import type { Session } from '../../src/index.ts'
import { SessionError } from '../../src/index.ts'
import { arrive, serve, visit, withTime } from '../support/core.ts'
import { published } from '../support/published.ts'

const SECRET = 'the-signing-secret-that-must-not-be-told'
const DATA = 'session-data-that-must-not-be-told'

/** S36 (OWASP ASVS 5.0, 16.2.5; CVE-2023-20866): no log, error or event tells a token, a cookie, a secret or data. */
test('nothing that is logged, thrown or published tells a secret', async () => {
  const told: unknown[] = []
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const)
    vi.spyOn(console, method).mockImplementation((...args) => void told.push(args))
  const events = published('holdfast:event')
  const decisions = published('holdfast:commit')
  const server = serve({ secrets: SECRET, maxSessionBytes: 2000 })
  const { sessions, store, clock } = server
  const cookies: string[] = []
  const attempt = async (
    cookie: string | null,
    handler: (session: Session<any>) => unknown,
    status?: number,
  ): Promise<void> => {
    try {
      const after = await withTime(clock, visit(sessions, cookie, handler, status))
      told.push(after.decision, after.outcome)
      if (after.cookie !== null) cookies.push(after.cookie)
    } catch (error) {
      expect(error).toBeInstanceOf(SessionError)
      told.push(error)
    }
  }

  const cookie = await arrive(sessions, { secret: DATA }, 'alice')
  cookies.push(cookie)
  await attempt(`${cookie.slice(0, -1)}!`, () => {})
  await attempt(cookie, (session) => session.set('when', { text: DATA, at: new Date() }))
  await attempt(cookie, (session) => session.set('big', DATA.repeat(100)))
  await attempt(cookie, (session) => session.setExpiry(-1))
  await attempt(cookie, (session) => session.update('secret', () => Promise.resolve(DATA)))
  await attempt(cookie, (session) => session.set('n', DATA), 500)
  for (const operation of ['load', 'create', 'replace', 'end', 'touch'] as const)
    for (const fault of ['fail', 'hang', 'loseReply'] as const) {
      const victim = await arrive(sessions, { secret: DATA }, 'alice')
      cookies.push(victim)
      store[fault](operation)
      await attempt(victim, (session) => session.set('n', DATA))
      await attempt(victim, (session) => session.rotate())
      await attempt(victim, (session) => session.destroy())
      store.heal()
    }
  const last = cookies.at(-1)!
  await attempt(last, (session) => session.destroy())
  await attempt(last, (session) => session.set('n', DATA))
  await clock.advance(1e9)
  await attempt(last, (session) => session.signIn('bob'))

  told.push(events, decisions)
  const all = inspect(told, {
    depth: Infinity,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
    showHidden: true,
  })
  expect(all).toContain('ERR_SESSION_TIMEOUT')
  expect(all).toContain('ERR_SESSION_TOO_LARGE')
  expect(all).not.toContain(SECRET)
  expect(all).not.toContain(DATA)
  for (const cookie of cookies) {
    const [token] = cookie.slice(cookie.indexOf('=') + 1).split('.')
    expect(all).not.toContain(token)
  }
  vi.restoreAllMocks()
})
