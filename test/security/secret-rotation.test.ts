import { expect, test } from 'vitest'

import { arrive, dataBehind, serve } from '../support/core.ts'

const [OLD, NEW] = ['the old secret, of 32 bytes......', 'the new secret, of 32 bytes......']
const DAY = 86_400_000

/** S7 (OWASP ASVS 5.0, 11.2.2): a secret is put in front, waits for the old one's sessions to end, and nobody is signed out. */
test('a secret is replaced in three steps, and signs nobody out on the way', async () => {
  const { sessions: before, other, clock } = serve({ secrets: OLD, idleTimeout: DAY / 1000 })
  const first = await arrive(before, { n: 1 })

  const during = other({ secrets: [NEW, OLD] })
  await clock.advance(1000)
  const second = await arrive(during, { n: 2 })
  expect(await dataBehind(during, first)).toEqual({ n: 1 })
  expect(await dataBehind(during, second)).toEqual({ n: 2 })
  expect(await dataBehind(before, second)).toBe(null)

  // One absolute timeout after the old secret stopped signing, all that it signed has ended anyway.
  await clock.advance(DAY - 1001)
  expect(await dataBehind(during, first)).toEqual({ n: 1 })
  await clock.advance(1)
  expect(await dataBehind(during, first)).toBe(null)
  const after = other({ secrets: NEW })
  expect(await dataBehind(after, second)).toEqual({ n: 2 })
})

test('a secret that is removed stops working at once', async () => {
  const { sessions, other } = serve({ secrets: [NEW, OLD] })
  const cookie = await arrive(other({ secrets: OLD }), { n: 1 })
  expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  expect(await dataBehind(other({ secrets: NEW }), cookie)).toBe(null)
})
