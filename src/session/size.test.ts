import { expect, test } from 'vitest'

import { checkSize } from './size.ts'

test('sizes are counted in bytes of UTF-8, up to the limit itself', () => {
  const text = JSON.stringify({ a: 'é€😀' })
  const bytes = Buffer.byteLength(text)
  expect(bytes).toBeGreaterThan(text.length)
  expect(() => checkSize(text, bytes)).not.toThrow()
  expect(() => checkSize(text, bytes - 1)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE' }))
})

test('the error names the three largest keys and quotes no value', () => {
  const json = JSON.stringify({
    s: 1,
    l: 'secret'.repeat(50),
    m: 'x'.repeat(200),
    xs: 'x'.repeat(100),
    xxs: 2,
  })
  expect(() => checkSize(json, 100)).toThrow(
    `The session would take ${Buffer.byteLength(json)} bytes, over maxSessionBytes (100). ` +
      'Largest: "l" (302 bytes), "m" (202 bytes), "xs" (102 bytes). ' +
      'Keep large things in your database and their ids here.',
  )
})
