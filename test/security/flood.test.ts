import { expect, test } from 'vitest'

import { createTokenSource } from '../../src/cookie/token.ts'
import { serve, setCookieOf, visit } from '../support/core.ts'

const VISITORS = 10_000
const mint = createTokenSource()

/** S32: who stores nothing leaves nothing. */
test.each<[string, (i: number) => string | null, boolean]>([
  ['without a cookie', () => null, false],
  ['with a cookie that leads nowhere', () => `__Host-session=${mint().token}`, false],
  ['with a cookie that is garbage', (i) => `__Host-session=${i}`, false],
  ['who sign out of no session', (i) => (i % 2 === 0 ? null : `__Host-session=${mint().token}`), true],
])('10,000 visitors %s leave no record, and get no cookie', async (_who, cookieOf, signOut) => {
  const { sessions, memory, store } = serve()
  for (let i = 0; i < VISITORS; i++) {
    const commit = await visit(sessions, cookieOf(i), (session) =>
      signOut ? session.destroy() : session.get('n'),
    )
    expect(setCookieOf(commit)).toBeUndefined()
  }
  expect(memory.size).toBe(0)
  expect(store.calls.filter(([operation]) => operation !== 'load')).toEqual([])
})
