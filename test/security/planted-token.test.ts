import { expect, test } from 'vitest'

import { createTokenSource } from '../../src/cookie/token.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'

const cookieOf = (token: string): string => `__Host-session=${token}`

/** S17 (CVE-2018-1000519): a token that was not issued here, or whose session is over, is never taken on. */
test.each<[string, (server: ReturnType<typeof serve>) => Promise<string>]>([
  ['never issued', () => Promise.resolve(cookieOf(createTokenSource()().token))],
  [
    'of an expired session',
    async ({ sessions, clock }) => {
      const cookie = await arrive(sessions)
      await clock.advance(100_000_000)
      return cookie
    },
  ],
  [
    'of a destroyed session',
    async ({ sessions }) => {
      const cookie = await arrive(sessions)
      await visit(sessions, cookie, (session) => session.destroy())
      return cookie
    },
  ],
])('a token %s is not what the victim is signed in under', async (_what, plant) => {
  const server = serve()
  const planted = await plant(server)
  const { cookie } = await visit(server.sessions, planted, (session) => session.signIn('victim'))
  expect(cookie).not.toBe(planted)
  expect(await dataBehind(server.sessions, planted)).toBe(null)
  expect((await server.sessions.open(cookie)).userId).toBe('victim')
})

/** S18 (OWASP ASVS 5.0, 7.2.4; CVE-2022-25896): fixation. */
test('an attacker who gave the victim a session of their own is not signed in with them', async () => {
  const { sessions, store } = serve()
  const attackers = await arrive(sessions, { cart: ['bait'] })
  const { cookie } = await visit(sessions, attackers, (session) => session.signIn('victim'))
  expect(await dataBehind(sessions, cookie)).toEqual({ cart: ['bait'] })
  expect(await dataBehind(sessions, attackers)).toBe(null)
  // The new one was written, and its user noted, before the old one was ended.
  const steps = store.calls.map(([operation]) => operation).filter((operation) => operation !== 'load')
  expect(steps).toEqual(['create', 'create', 'noteUser', 'end', 'touch'])
})

/** S12 (6265bis 8.6): a sibling host can add a cookie of the name, in front or behind. */
test("of two live sessions none is chosen, neither the attacker's nor the victim's", async () => {
  const { sessions } = serve()
  const [victims, attackers] = [
    await arrive(sessions, { n: 1 }, 'victim'),
    await arrive(sessions, { n: 2 }, 'attacker'),
  ]
  for (const header of [`${victims}; ${attackers}`, `${attackers}; ${victims}`]) {
    const { session, decision } = await visit(sessions, header)
    expect([session.userId, session.size, decision.lookup, decision.cookie]).toEqual([
      null,
      0,
      'ambiguous',
      'left',
    ])
  }
})

test('a dead cookie beside a live one does not stand in its way, and no more than four are looked at', async () => {
  const { sessions, store } = serve()
  const live = await arrive(sessions, { n: 1 })
  const mint = createTokenSource()
  const dead = Array.from({ length: 50 }, () => cookieOf(mint().token))
  expect(await dataBehind(sessions, [live, ...dead].join('; '))).toEqual({ n: 1 })
  store.calls.length = 0
  await sessions.open(dead.join('; '))
  expect(store.calls).toHaveLength(4)
})
