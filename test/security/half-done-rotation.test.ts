import { expect, test } from 'vitest'

import { arrive, dataBehind, serve, visit, withTime } from '../support/core.ts'

const OPERATIONS = ['create', 'load', 'end', 'touch'] as const
const FAULTS = ['fail', 'loseReply', 'hang'] as const

/**
 * S18 (OWASP ASVS 5.0, 7.2.4): an attacker who planted a session waits for the store to fail in the middle of the victim's sign-in.
 */
test.each(OPERATIONS.flatMap((operation) => FAULTS.map((fault) => [operation, fault] as const)))(
  'a sign-in whose %s fails (%s) never signs in the cookie that came with it',
  async (operation, fault) => {
    // From the first call of the operation, or from one after it.
    for (const spared of [0, 1, 2]) {
      const { clock, store, memory, sessions } = serve()
      const planted = await arrive(sessions, { cart: ['bait'] })
      let left = spared
      const session = await sessions.open(planted)
      store.before = (asked) => {
        if (asked === operation && left-- === 0) store[fault](operation)
      }
      session.signIn('victim')
      const commit = await withTime(clock, sessions.commit(session)).catch(() => null)
      store.before = undefined
      store.heal()
      await new Promise(setImmediate)

      const seen = await sessions.open(planted)
      expect(seen.userId).toBe(null)
      // Never both the old session and the new one, once what was pending has withered.
      if (commit === null) await clock.advance(5000)
      await memory.clearExpired()
      const old = await dataBehind(sessions, planted)
      if (commit !== null) expect([old, memory.size]).toEqual([null, 1])
      else expect(memory.size).toBeLessThanOrEqual(1)
    }
  },
)

test('a sign-in that failed is done by trying again', async () => {
  for (const operation of OPERATIONS) {
    const { clock, store, sessions } = serve()
    const planted = await arrive(sessions)
    store.fail(operation)
    await withTime(
      clock,
      visit(sessions, planted, (session) => session.signIn('victim')),
    ).catch(() => {})
    store.heal()
    const { session, cookie } = await visit(sessions, planted, (again) => again.signIn('victim'))
    expect([session.userId, cookie === planted, await dataBehind(sessions, planted)]).toEqual([
      'victim',
      false,
      null,
    ])
  }
})
