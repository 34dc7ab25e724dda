import fc from 'fast-check'
import { expect, test } from 'vitest'

import { arrive, serve } from '../support/core.ts'

const SECRET = 'a secret of at least 32 bytes....'
const NAME = '__Host-session'

const token = fc.string({ unit: fc.constantFrom(...'AZaz09-_'), minLength: 43, maxLength: 43 })
const values = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 80 }),
  token,
  fc
    .tuple(token, fc.string({ unit: fc.constantFrom(...'AZaz09-_'), minLength: 22, maxLength: 22 }))
    .map((both) => both.join('.')),
  fc.constantFrom(
    '',
    '\0',
    '\r\nSet-Cookie: a=b',
    '../../etc/passwd',
    '"',
    '%00',
    '.',
    '😀',
    '\uD800',
    'x'.repeat(1_000_000),
  ),
)

/** S4 (OWASP ASVS 5.0, 2.2.1): what was not issued here is an anonymous visitor, and costs the store nothing. */
test('10,000 cookies that were not issued here reach no store, and none throws', async () => {
  const { sessions, store } = serve({ secrets: SECRET })
  await fc.assert(
    fc.asyncProperty(values, fc.constantFrom('; ', ';', ' ;\t', ', '), async (value, separator) => {
      const session = await sessions.open(`other=1${separator}${NAME}=${value}${separator}last=2`)
      expect([session.isNew, session.size, session.userId]).toEqual([true, 0, null])
      expect((await sessions.commit(session)).headers.map(([name]) => name)).not.toContain('Set-Cookie')
    }),
    { numRuns: 10_000, examples: [['x'.repeat(1_000_000), '; ']] },
  )
  expect(store.calls).toEqual([])
})

test('a genuine cookie with any one character changed reaches no store', async () => {
  const { sessions, store } = serve({ secrets: SECRET })
  const cookie = await arrive(sessions)
  store.calls.length = 0
  for (let i = NAME.length + 1; i < cookie.length; i++) {
    const other = cookie[i] === 'A' ? 'B' : 'A'
    const session = await sessions.open(cookie.slice(0, i) + other + cookie.slice(i + 1))
    expect(session.isNew).toBe(true)
  }
  expect(store.calls).toEqual([])
  expect((await sessions.open(cookie)).get('n')).toBe(0)
})

test('a cookie signed for another name, or by another server, reaches no store (CVE-2023-48309)', async () => {
  const { sessions, store } = serve({ secrets: SECRET })
  const named = serve({ secrets: SECRET, cookie: { name: '__Host-admin' } })
  const foreign = serve({ secrets: 'another secret of 32 bytes.......' })
  for (const other of [named, foreign]) {
    const [, value] = (await arrive(other.sessions)).split('=')
    expect((await sessions.open(`${NAME}=${value}`)).isNew).toBe(true)
  }
  expect(store.calls).toEqual([])
})
