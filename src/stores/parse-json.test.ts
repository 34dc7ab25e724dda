import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'

import { parseJson } from './parse-json.ts'

describe('a key with an escape', () => {
  test.each([
    ['a quotation mark', '"'],
    ['a line feed', '\n'],
    ['a backspace', '\b'],
  ])('is read as it was written: %s, once there has been a backslash', (what, key) => {
    JSON.parse(`{${JSON.stringify(what)}:[],"\\\\":0}`)
    expect(Object.keys(parseJson(JSON.stringify({ [what]: 1, [key]: 2 })) as object)).toEqual([what, key])
  })

  test('may be written in any way that JSON knows', () => {
    const text = String.raw`{ "\u0061\t" : 1, "\ud83d\ude00" :{"\/":"\":"}, "b":["\\", {"\\\"":"x\"y\": z"}] }`
    expect(parseJson(text)).toEqual({ 'a\t': 1, '😀': { '/': '":' }, b: ['\\', { '\\"': 'x"y": z' }] })
  })

  test('keeps its place, and the last of two counts', () => {
    expect(Object.entries(parseJson(String.raw`{"b":1,"\"":2,"a":3,"\u0022":4}`) as object)).toEqual([
      ['b', 1],
      ['"', 4],
      ['a', 3],
    ])
  })

  test('is data, whatever it is', () => {
    const value = parseJson(String.raw`{"\u005f_proto__":{"polluted":true}}`) as object
    expect(Object.keys(value)).toEqual(['__proto__'])
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  })

  test('is told from whatever could be taken for what stands in for it', () => {
    const random = vi.spyOn(Math, 'random').mockReturnValueOnce(0.1).mockReturnValueOnce(0.2)
    const data = { '"': 1, '\uE0000.1:0': 2, '\uE0000.1:': 3, '\\': '\uE000' }
    expect(parseJson(JSON.stringify(data))).toEqual(data)
    expect(random).toHaveBeenCalledTimes(2)
    random.mockRestore()
  })
})

test('a string of any length is read', () => {
  for (const data of [{ a: '\n'.repeat(5_000_000) }, { '"': `\n${'x'.repeat(10_000_000)}` }])
    expect(JSON.stringify(parseJson(JSON.stringify(data))) === JSON.stringify(data)).toBe(true)
})

test.each([
  String.raw`{"\q":1}`,
  '{"\\n\n":1}',
  '{"a\\":1}',
  '{"\\u00":1}',
  '{"\\n"\u00a0:1}',
  '{"\\n":1,}',
  '"\\',
])('what is no JSON is refused: %j', (text) => {
  expect(() => parseJson(text)).toThrow(SyntaxError)
})

test('whatever JSON can say is read', () => {
  const piece = fc.constantFrom('\\', '"', '\n', '\u0001', '\uE000', '\ud800', '__proto__', 'a', ':', '0', '')
  const key = fc.array(piece, { maxLength: 4 }).map((pieces) => pieces.join(''))
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.oneof(key, fc.integer(), fc.boolean(), fc.constant(null)),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(key, tie('tree'), { maxKeys: 5, noNullPrototype: true }),
    ),
  }))
  fc.assert(
    fc.property(tree, fc.nat(2), (value, space) => {
      const text = JSON.stringify(value, null, space)
      expect(JSON.stringify(parseJson(text), null, space)).toBe(text)
    }),
    { numRuns: 2000 },
  )
})
